// Package oracle holds tests that ask other parsers about our mail: whatever
// mime composes must mean the same to mime itself, to CPython's email package
// and to enmime. It is a module of its own, so that no host ever downloads
// these.
//
//	cd internal/oracle && go test ./...
//
// CPython takes part if python3 is in the path. ORACLE_MESSAGES sets the number
// of messages, 10000 by default (1000 with -short).
package oracle
