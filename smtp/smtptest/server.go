package smtptest

import (
	"crypto/tls"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"
)

// A Server is a running SMTP server. Make it with [NewServer].
type Server struct {
	name       string
	extensions []string
	tlsExts    []string // nil: as extensions
	noEHLO     bool
	lmtp       bool
	sticky     bool
	implicit   bool
	startTLS   bool
	cert       *tls.Certificate
	user, pass string
	token      string
	mechanisms []string
	keepLog    int
	refused    []string

	l  net.Listener
	wg sync.WaitGroup

	mu                           sync.Mutex
	closed                       bool
	done                         chan struct{}
	conns                        map[net.Conn]struct{}
	sessions                     []*transcript
	faults                       []Fault
	cutRead, cutWrite, stallRead int
	ledger                       []*Message
	violations                   []string
}

// An Option sets up a [Server].
type Option func(*Server)

// WithName sets the host name in the greeting; default "smtptest.example".
func WithName(name string) Option { return func(s *Server) { s.name = name } }

// WithExtensions sets the lines of the EHLO reply, keyword and arguments each;
// default "8BITMIME", "ENHANCEDSTATUSCODES", "DSN", "SIZE 104857600". STARTTLS
// and AUTH come by themselves where they are set up, unless lines name them.
func WithExtensions(lines ...string) Option {
	return func(s *Server) { s.extensions = append([]string{}, lines...) }
}

// WithTLSExtensions sets other lines for the time after STARTTLS.
func WithTLSExtensions(lines ...string) Option {
	return func(s *Server) { s.tlsExts = append([]string{}, lines...) }
}

// WithoutEHLO makes the server as old as RFC 821: EHLO is an unknown command.
func WithoutEHLO() Option { return func(s *Server) { s.noEHLO = true } }

// WithLMTP makes the server speak LMTP (RFC 2033): LHLO, and a reply for each
// recipient at the end of a message.
func WithLMTP() Option { return func(s *Server) { s.lmtp = true } }

// WithStickyChunks makes the server take no MAIL after a BDAT that it refused,
// until RSET, as Postfix does.
func WithStickyChunks() Option { return func(s *Server) { s.sticky = true } }

// WithImplicitTLS makes the server speak TLS from the first byte.
func WithImplicitTLS() Option { return func(s *Server) { s.implicit = true } }

// WithSTARTTLS makes the server offer STARTTLS.
func WithSTARTTLS() Option { return func(s *Server) { s.startTLS = true } }

// WithCertificate replaces the certificate, which by default is good for
// "localhost", "127.0.0.1" and "::1"; see [Certificate].
func WithCertificate(c tls.Certificate) Option { return func(s *Server) { s.cert = &c } }

// WithRefused makes the server refuse these recipients for good, with 550
// 5.1.1.
func WithRefused(addresses ...string) Option {
	return func(s *Server) { s.refused = append(s.refused, addresses...) }
}

// WithLogLimit sets how many bytes of each direction of a connection are
// logged; default 1 MiB.
func WithLogLimit(n int) Option { return func(s *Server) { s.keepLog = n } }

// WithFault adds a fault; see [Server.AddFault].
func WithFault(f Fault) Option { return func(s *Server) { s.AddFault(f) } }

// NewServer starts a server on a loopback port. It panics if it cannot listen.
// The caller must Close it.
func NewServer(opts ...Option) *Server {
	s := NewUnstartedServer(opts...)
	s.Start()
	return s
}

// NewUnstartedServer makes a server that listens, and accepts nobody before
// Start: clients see a host that connects and stays silent.
func NewUnstartedServer(opts ...Option) *Server {
	s := &Server{
		name:       "smtptest.example",
		extensions: []string{"8BITMIME", "ENHANCEDSTATUSCODES", "DSN", "SIZE 104857600"},
		mechanisms: []string{"PLAIN", "LOGIN", "CRAM-MD5"},
		keepLog:    1 << 20,
		done:       make(chan struct{}),
		conns:      make(map[net.Conn]struct{}),
		cutRead:    -1, cutWrite: -1, stallRead: -1,
	}
	for _, o := range opts {
		o(s)
	}
	if s.cert == nil && (s.implicit || s.startTLS) {
		c := Certificate(time.Now().Add(time.Hour), "localhost", "127.0.0.1", "::1")
		s.cert = &c
	}
	var err error
	if s.l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		if s.l, err = net.Listen("tcp", "[::1]:0"); err != nil {
			panic(fmt.Sprintf("smtptest: %v", err))
		}
	}
	return s
}

// Start begins to accept connections.
func (s *Server) Start() {
	s.wg.Go(func() {
		for {
			nc, err := s.l.Accept()
			if err != nil {
				return
			}
			s.serve(nc)
		}
	})
}

func (s *Server) serve(nc net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = nc.Close()
		return
	}
	s.conns[nc] = struct{}{}
	t := &transcript{limit: s.keepLog}
	s.sessions = append(s.sessions, t)
	c := newConn(s, nc, t, len(s.sessions))
	s.wg.Go(func() {
		defer func() {
			_ = nc.Close()
			s.mu.Lock()
			delete(s.conns, nc)
			s.mu.Unlock()
		}()
		c.run()
	})
}

// Addr is the server's host:port.
func (s *Server) Addr() string { return s.l.Addr().String() }

// Close ends all connections and waits for them. It is idempotent.
func (s *Server) Close() {
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		close(s.done)
		_ = s.l.Close()
		for nc := range s.conns {
			_ = nc.Close()
		}
	}
	s.mu.Unlock()
	s.wg.Wait()
}

// Violations is what clients did wrong, a sentence each.
func (s *Server) Violations() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.violations)
}

func (s *Server) violation(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v := fmt.Sprintf(format, args...); len(s.violations) < 1000 && !slices.Contains(s.violations, v) {
		s.violations = append(s.violations, v)
	}
}
