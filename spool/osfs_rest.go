//go:build !(linux && (amd64 || arm64))

package spool

import (
	"errors"
	"os"
)

func renameNoReplace(from *osDir, name string, to *osDir, toName string) error {
	return renameInSteps(from, name, to, toName)
}

func (d *osDir) openAt(name string, flag int, perm os.FileMode) (*os.File, error) {
	return d.root.OpenFile(name, flag, perm)
}

func (d *osDir) openSelf() (*os.File, error) { return d.root.Open(".") }

func syncfs(int) error { return errors.ErrUnsupported }

func dirtyBytes() (int64, error) { return 0, errors.ErrUnsupported }

func (d *osDir) unchanged() bool { return false }
