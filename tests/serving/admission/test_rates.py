"""Rate limits, and the addresses they go by."""

import subprocess
import sys
from pathlib import Path

import pytest

from fashion_mnist.serving.admission import rates
from fashion_mnist.serving.admission.client_address import TrustedProxies, customer_of
from fashion_mnist.serving.admission.rates import Rate, RateTable, read_rate

PEER = ("127.0.0.1", 5)


@pytest.mark.parametrize(
    ("text", "rate"), [("100/s", (100, 1.0)), (" 6/min ", (6, 60.0)), ("5000/h", (5000, 3600.0))]
)
def test_a_rate_is_read(text: str, rate: tuple[int, float]) -> None:
    assert read_rate(text) == rate


@pytest.mark.parametrize("text", ["", "0/s", "-1/s", "1.5/s", "100", "100/d", "100/s/s", "9" * 10 + "/s"])
def test_another_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected images per period"):
        read_rate(text)


def test_a_bucket_empties_and_fills(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(rates, "monotonic", lambda: now)
    table, rate = RateTable(None), Rate(10, 1.0)
    slot = table.find(b"a")
    assert [table.take(slot, rate) for _ in range(10)] == [0.0] * 10
    assert table.take(slot, rate) == pytest.approx(0.1)
    assert table.take(table.find(b"b"), rate) == 0.0  # another client
    now += 0.1
    assert table.take(slot, rate) == 0.0
    assert table.take(slot, rate) > 0
    now += 60
    assert table.take(slot, rate) == 0.0
    table.charge(slot, rate, 29)  # a batch of 30
    assert table.take(slot, rate) == pytest.approx(2.1)


def test_a_full_table_forgets_whoever_has_waited_longest() -> None:
    table, rate = RateTable(None), Rate(1, 3600.0)
    limited = table.find(b"limited")
    for _ in range(2):
        table.take(limited, rate)
    for number in range(100_000):
        slot = table.find(b"%d" % number)
        assert table.find(b"%d" % number) == slot
    assert table.take(table.find(b"limited"), rate) > 0  # the others never took anything


def test_processes_share_a_table(tmp_path: Path) -> None:
    """Four processes hammer one bucket: together they get its rate, within 20 %."""
    code = (
        "import sys, time; from pathlib import Path\n"
        "from fashion_mnist.serving.admission.rates import RateTable, Rate\n"
        "table = RateTable(Path(sys.argv[1])); rate = Rate(500, 1.0)\n"
        "print('ready', flush=True); sys.stdin.readline(); end = time.monotonic() + 2; got = 0\n"
        "while time.monotonic() < end:\n"
        "    got += table.take(table.find(b'client'), rate) == 0.0\n"
        "print(got)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "table")]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(4)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    total = sum(int(process.communicate()[0]) for process in processes)
    assert total == pytest.approx(500 + 2 * 500, rel=0.2)
    assert list(tmp_path.iterdir()) == [tmp_path / "table"]


@pytest.mark.parametrize(
    ("trusted", "peer", "header", "client"),
    [
        ("127.0.0.1", "127.0.0.1", b"1.2.3.4", "1.2.3.4"),
        ("127.0.0.1", "10.0.0.1", b"1.2.3.4", "10.0.0.1"),  # not a proxy: the client may have invented it
        ("127.0.0.1", "127.0.0.1", b"6.6.6.6, 1.2.3.4", "1.2.3.4"),
        ("127.0.0.1,10.0.0.0/8", "127.0.0.1", b"6.6.6.6, 1.2.3.4, 10.1.1.1", "1.2.3.4"),
        ("127.0.0.1", "127.0.0.1", b"1.2.3.4, junk", "127.0.0.1"),
        ("*", "9.9.9.9", b"1.2.3.4, 5.6.7.8", "1.2.3.4"),
        ("::1", "::1", b"2001:db8::7", "2001:db8::7"),
        ("127.0.0.1", "::ffff:127.0.0.1", b"1.2.3.4", "1.2.3.4"),
    ],
)
def test_the_client_is_the_last_address_that_no_trusted_proxy_has(
    trusted: str, peer: str, header: bytes, client: str
) -> None:
    found = TrustedProxies(trusted).find_client((peer, 5), [(b"x-forwarded-for", header)])
    assert found is not None
    assert found[0] == client


def test_without_a_header_or_a_peer_nothing_is_invented() -> None:
    proxies = TrustedProxies("127.0.0.1")
    assert proxies.find_client(PEER, []) == PEER
    assert proxies.find_client(None, [(b"x-forwarded-for", b"1.2.3.4")]) is None


def test_an_ipv6_customer_is_a_network() -> None:
    assert customer_of("2001:db8::1") == customer_of("2001:db8::ffff:2") != customer_of("2001:db8:0:1::1")
    assert customer_of("1.2.3.4") != customer_of("1.2.3.5")
