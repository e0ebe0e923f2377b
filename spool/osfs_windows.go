package spool

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

const openNonblock = 0

// checkOwner has nothing to look at: mode bits say nothing here, a new directory inherits the access list of its parent.
func checkOwner(fs.FileInfo) error { return nil }

const errorNotSameDevice = syscall.Errno(17) // ERROR_NOT_SAME_DEVICE

func isCrossDevice(err error) bool { return errors.Is(err, errorNotSameDevice) }

// syncDir does nothing: a directory handle cannot be flushed here; NTFS journals names by itself.
func syncDir(*os.File) error { return nil }
