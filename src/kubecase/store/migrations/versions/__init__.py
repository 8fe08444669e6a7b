"""One file per revision, named after it; never changed once released."""
