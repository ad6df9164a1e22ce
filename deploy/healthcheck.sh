#!/usr/bin/env bash
# Docker runs this every few seconds to check that the service is ready. It is plain bash because starting
# Python would take a hundred times as long, and the image has no curl.
set -eu
port=${PORT:-${BENTOML_PORT:-${FASHION_MNIST_PORT:-3000}}}
exec 3<>"/dev/tcp/127.0.0.1/${port%$'\r'}" # a file of variables from Windows ends lines with a CR
printf 'GET /readyz HTTP/1.0\r\nHost: localhost\r\n\r\n' >&3
read -r _ status _ <&3
[ "$status" = 200 ]
