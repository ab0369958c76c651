#!/bin/sh
# Python's crypt module was deprecated in 3.11 and is gone since 3.13.
exec python3 -W ignore -c 'import crypt'
