package pop3test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"slices"
	"sync"

	"github.com/maildriver/maildriver/internal/testcert"
)

// A Server is a POP3 server on a port of 127.0.0.1. Any number of goroutines
// may use it.
type Server struct {
	// Addr is host:port to connect to.
	Addr string

	cfg  config
	ln   net.Listener
	done chan struct{}
	wg   sync.WaitGroup

	mu         sync.Mutex
	closed     bool
	conns      map[net.Conn]struct{}
	boxes      map[string]*maildrop
	serial     int
	rules      []*armedRule
	cutAfter   int64
	logs       []*transcript
	violations []string
}

// NewServer starts a server. It panics if it cannot listen, as httptest does.
func NewServer(opts ...Option) *Server {
	s := &Server{
		done:     make(chan struct{}),
		conns:    make(map[net.Conn]struct{}),
		boxes:    make(map[string]*maildrop),
		cutAfter: -1,
	}
	for _, o := range opts {
		o(&s.cfg)
	}
	if len(s.cfg.users) == 0 {
		s.cfg.users = []account{{User, Password}}
	}
	for _, u := range s.cfg.users {
		s.boxes[u.name] = &maildrop{account: u}
	}
	if s.cfg.tls == nil && (s.cfg.implicit || s.cfg.stls) {
		s.cfg.tls = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{testcert.Local()}}
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(fmt.Sprintf("pop3test: cannot listen: %v", err))
	}
	s.ln, s.Addr = ln, ln.Addr().String()
	s.wg.Go(s.accept)
	return s
}

// RootCAs returns the authority that signed the server's certificate.
func (s *Server) RootCAs() *x509.CertPool { return testcert.RootCAs() }

// Close stops the server, ends all connections and returns when all its
// goroutines are gone. It may be called twice.
func (s *Server) Close() {
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		close(s.done)
		_ = s.ln.Close()
		for c := range s.conns {
			_ = c.Close()
		}
	}
	s.mu.Unlock()
	s.wg.Wait()
}

// Violations returns what clients did against RFC 1939 and its extensions,
// such as a command before the reply to the last without PIPELINING. Empty for
// a well-behaved client.
func (s *Server) Violations() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.violations)
}

func (s *Server) violation(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.violations = append(s.violations, fmt.Sprintf(format, args...))
}

func (s *Server) accept() {
	for {
		conn, err := s.ln.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			_ = conn.Close()
			return
		}
		s.conns[conn] = struct{}{}
		log := &transcript{}
		s.logs = append(s.logs, log)
		cut := s.cutAfter
		s.wg.Go(func() {
			newSession(s, conn, log, cut).serve()
			s.mu.Lock()
			delete(s.conns, conn)
			s.mu.Unlock()
		})
		s.mu.Unlock()
	}
}
