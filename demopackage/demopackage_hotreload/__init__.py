"""Runs demopackage and datasette under firehot; tells what happens and how long it takes."""
