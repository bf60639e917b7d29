"""`python -m demopackage`."""

from demopackage.app import main

raise SystemExit(main())
