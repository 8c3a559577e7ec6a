#!/bin/sh
# aisc-portal: packages are being installed, their services stay off
exit 101
