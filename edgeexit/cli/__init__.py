"""The command line: opens files, calls the library, prints. One file `cmd_<name>.py` a command; `app.py` lists them."""
