"""Checks deploy/ with the tools of those who will read it: systemd, hadolint, cfn-lint, parliament, Helm and more.

`make check-deploy` runs them in an environment of their own (requirements/deploy.txt), without the product's
packages. A check yields complaints. One whose tool is not to be had on this machine is skipped, and says so.
"""
