//go:build unix

package netx

import (
	"errors"
	"io"
	"os"
	"syscall"
)

const canPoll = true

// readNow reads what the socket holds. Package net keeps its sockets
// non-blocking.
func readNow(rc syscall.RawConn, p []byte) (n int, err error) {
	if len(p) == 0 {
		return 0, nil
	}
	failed := rc.Read(func(fd uintptr) bool {
		for {
			if n, err = syscall.Read(int(fd), p); !errors.Is(err, syscall.EINTR) {
				return true
			}
		}
	})
	switch {
	case failed != nil:
		return 0, failed
	case errors.Is(err, syscall.EAGAIN):
		return 0, os.ErrDeadlineExceeded // not wrapped: TLS must see that it is temporary
	case err != nil:
		return 0, os.NewSyscallError("read", err)
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}
