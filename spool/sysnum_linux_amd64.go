package spool

// What package syscall does not name.
const (
	sysSyncfs    = 306
	sysRenameat2 = 316
)
