//go:build !unix

package ews

// syncDirectory does nothing where a directory cannot be synced: the file system
// keeps renames in order there.
func syncDirectory(string) error { return nil }
