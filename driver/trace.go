package driver

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/maildriver/maildriver/spool"
)

// A TraceFunc opens what a connection's trace is written to, or returns nil for
// no trace of it. protocol is the driver's name, addr the server's host:port.
// It is called for each connection, by any number of goroutines; what it
// returns is used by one goroutine at a time, and closed at the end of the
// connection. Traces never hold what logs in, nor what mails hold: what is
// left out is told by its place in the protocol, not by its look.
type TraceFunc func(protocol, addr string) (io.WriteCloser, error)

// WithTrace writes traces of the conversations with servers, for finding
// faults. The default is none.
func WithTrace(open TraceFunc) Option {
	return netOption("Trace", func(n *Network) error {
		if open == nil {
			return errors.New("the function is nil")
		}
		n.Trace = open
		return nil
	})
}

// MaxTraceBytes bounds the file of one trace.
const MaxTraceBytes = 64 << 20

// maxNameTries bounds the search for a name that is free.
const maxNameTries = 1000

var programStart = time.Now()

// WithLogDebug writes traces to files in dir, which is made if it is missing,
// and which nobody but the owner may read, nor the files. Their names are the
// documented ones, prefix_A_B_C_D_E.log, where prefix is POP3SMTP or IMAPSMTP
// (or what the host likes, letters and digits), A is the process, B the driver,
// C the service, D when that was made in Unix seconds, and E the milliseconds
// since the program's start, all in hexadecimal. A file is at most
// [MaxTraceBytes] long, and nobody deletes it.
func WithLogDebug(dir, prefix string) Option {
	made := sync.OnceValues(func() (*traceDir, error) { return newTraceDir(dir, prefix) })
	return netOption("LogDebug", func(n *Network) error {
		if dir == "" {
			return errors.New("the directory is not named")
		}
		if prefix == "" || strings.ContainsFunc(prefix, func(r rune) bool {
			return !(r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z')
		}) {
			return fmt.Errorf("the prefix %q is not made of letters and digits", prefix)
		}
		t, err := made()
		if err != nil {
			return err
		}
		n.Trace = t.open
		return nil
	})
}

type traceDir struct {
	path   string
	prefix string
	names  *spool.Spool // for A to D alone; nothing is made in it
	handle uint64
}

func newTraceDir(dir, prefix string) (*traceDir, error) {
	path, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	names, err := spool.New(path)
	if err != nil {
		return nil, err
	}
	return &traceDir{path, prefix, names, spool.NewDriverHandle()}, nil
}

// open makes the file of one service. A name that exists, as may happen with a
// directory that several machines share, is not touched.
func (t *traceDir) open(string, string) (io.WriteCloser, error) {
	if err := os.MkdirAll(t.path, 0o700); err != nil {
		return nil, err
	}
	service := t.names.NewService(t.handle).Prefix()
	ms := time.Since(programStart).Milliseconds()
	for tries := 0; ; tries++ {
		name := fmt.Sprintf("%s_%s_%x.log", t.prefix, service, ms)
		f, err := os.OpenFile(filepath.Join(t.path, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err == nil {
			return &traceFile{f, MaxTraceBytes}, nil
		}
		if !errors.Is(err, os.ErrExist) || tries == maxNameTries {
			return nil, err
		}
		ms++
	}
}

// A traceFile ends at its limit with an error, once.
type traceFile struct {
	f    *os.File
	left int
}

func (t *traceFile) Write(p []byte) (int, error) {
	if len(p) > t.left {
		return 0, fmt.Errorf("the trace has %d bytes: %w", MaxTraceBytes, ErrLimit)
	}
	n, err := t.f.Write(p)
	t.left -= n
	return n, err
}

func (t *traceFile) Close() error { return t.f.Close() }
