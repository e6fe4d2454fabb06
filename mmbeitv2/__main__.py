"""``python -m mmbeitv2``: the console command where it is not on PATH."""

from mmbeitv2.commands import main

if __name__ == '__main__':
    main()
