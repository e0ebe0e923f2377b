//go:build !unix

package netx

import (
	"errors"
	"syscall"
)

const canPoll = false

func readNow(syscall.RawConn, []byte) (int, error) { return 0, errors.ErrUnsupported }
