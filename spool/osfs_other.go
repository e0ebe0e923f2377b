//go:build !unix && !windows

package spool

import (
	"io/fs"
	"os"
)

const openNonblock = 0

func checkOwner(fs.FileInfo) error { return nil }

func isCrossDevice(error) bool { return false }

func syncDir(f *os.File) error { return f.Sync() }
