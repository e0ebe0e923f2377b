package imaptest

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapserver"
	"github.com/emersion/go-imap/v2/imapserver/imapmemserver"

	"github.com/maildriver/maildriver/internal/testcert"
)

// The account of a server.
const (
	User     = "ann"
	Password = "secret of ann"
)

// Inbox is the folder that every account has.
const Inbox = "INBOX"

type config struct {
	implicit, startTLS bool
	user, password     string
	token              string
	mechanisms         []string
	without            []string
	with               []string
	folders            []string
}

// An Option changes a [Server].
type Option func(*config)

// WithTLS makes the server speak TLS from the first byte.
func WithTLS() Option { return func(c *config) { c.implicit = true } }

// WithStartTLS makes the server offer STARTTLS and refuse logins before it.
func WithStartTLS() Option { return func(c *config) { c.startTLS = true } }

// WithLogin replaces the account, [User] and [Password].
func WithLogin(user, password string) Option {
	return func(c *config) { c.user, c.password = user, password }
}

// Without takes capabilities away, such as "UIDPLUS", "MOVE" or "ESEARCH". They
// are only not announced: a client that uses them all the same is served. IDLE,
// ENABLE, UNSELECT, SASL-IR, LITERAL- and UTF8=ACCEPT are always there.
func Without(capabilities ...string) Option {
	return func(c *config) { c.without = append(c.without, capabilities...) }
}

// With adds a capability to the list; the server itself does nothing for it.
func With(capabilities ...string) Option {
	return func(c *config) { c.with = append(c.with, capabilities...) }
}

// WithFolders adds folders.
func WithFolders(names ...string) Option {
	return func(c *config) { c.folders = append(c.folders, names...) }
}

// A Server is an IMAP server on a port of 127.0.0.1 with one account. Any
// number of goroutines may use it.
type Server struct {
	// Addr is host:port to connect to.
	Addr string

	cfg  config
	srv  *imapserver.Server
	user *imapmemserver.User
	done chan struct{}

	wg sync.WaitGroup // of everything that writes

	mu     sync.Mutex
	live   int           // sessions
	idle   chan struct{} // closed when live becomes 0; nil: nobody waits
	logs   []*transcript
	conns  map[net.Conn]struct{} // as they were accepted
	closed bool

	violations []string
}

// defaultCaps is what the server offers.
var defaultCaps = []string{
	"IMAP4rev1", "NAMESPACE", "UIDPLUS", "ESEARCH", "LIST-EXTENDED", "LIST-STATUS",
	"MOVE", "STATUS=SIZE",
}

// NewServer starts a server. It panics if it cannot listen, as httptest does.
func NewServer(opts ...Option) *Server {
	s := &Server{cfg: config{user: User, password: Password}, done: make(chan struct{}), conns: map[net.Conn]struct{}{}}
	for _, o := range opts {
		o(&s.cfg)
	}
	s.user = imapmemserver.NewUser(s.cfg.user, s.cfg.password)
	must(s.user.Create(Inbox, nil))
	for _, f := range s.cfg.folders {
		must(s.user.Create(f, nil))
	}
	mem := imapmemserver.New()
	mem.AddUser(s.user)
	options := &imapserver.Options{
		NewSession: func(conn *imapserver.Conn) (imapserver.Session, *imapserver.GreetingData, error) {
			session := mem.NewSession()
			if s.cfg.mechanisms != nil {
				session = &saslSession{session.(imapserver.SessionIMAP4rev2), s, conn}
			}
			return session, nil, nil
		},
		Caps:         imap.CapSet{},
		InsecureAuth: !s.cfg.startTLS,
		Logger:       log.New(io.Discard, "", 0),
	}
	for _, name := range slices.Concat(defaultCaps, s.cfg.with) {
		if !slices.ContainsFunc(s.cfg.without, func(w string) bool { return strings.EqualFold(w, name) }) {
			options.Caps[imap.Cap(name)] = struct{}{}
		}
	}
	cert := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{testcert.Local()}}
	if slices.Contains(s.cfg.mechanisms, "EXTERNAL") {
		cert.ClientAuth = tls.RequestClientCert
	}
	if s.cfg.startTLS {
		options.TLSConfig = cert
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	s.Addr = ln.Addr().String()
	s.srv = imapserver.New(options)
	accepting := make(chan struct{})
	l := &listener{Listener: ln, s: s, accepting: accepting}
	if s.cfg.implicit {
		l.tls = cert
	}
	go func() {
		defer close(s.done)
		_ = s.srv.Serve(l)
	}()
	<-accepting // the memory server does not stand a Close before
	return s
}

func must(err error) {
	if err != nil {
		panic("imaptest: " + err.Error())
	}
}

// begin notes a connection; it returns false if the server is closed.
func (s *Server) begin(conn net.Conn, t *transcript) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.logs = append(s.logs, t)
	s.conns[conn] = struct{}{}
	s.live++
	return true
}

// end notes that a session is over.
func (s *Server) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.live--; s.live == 0 && s.idle != nil {
		close(s.idle)
		s.idle = nil
	}
}

// forget drops a connection that is closed.
func (s *Server) forget(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, conn)
}

// RootCAs returns the authority that signed the server's certificate.
func (s *Server) RootCAs() *x509.CertPool { return testcert.RootCAs() }

// Add puts raw messages into the INBOX, behind those that are there.
func (s *Server) Add(raw ...[]byte) { s.AddTo(Inbox, raw...) }

// AddTo puts raw messages into a folder.
func (s *Server) AddTo(folder string, raw ...[]byte) { s.AddFlagged(folder, nil, raw...) }

// AddFlagged puts raw messages with flags, such as `\Seen`, into a folder.
func (s *Server) AddFlagged(folder string, flags []string, raw ...[]byte) {
	o := &imap.AppendOptions{Time: time.Now()}
	for _, f := range flags {
		o.Flags = append(o.Flags, imap.Flag(f))
	}
	for _, r := range raw {
		_, err := s.user.Append(folder, literal{bytes.NewReader(r), int64(len(r))}, o)
		must(err)
	}
}

type literal struct {
	io.Reader
	size int64
}

func (l literal) Size() int64 { return l.size }

// Count counts the messages of a folder.
func (s *Server) Count(folder string) int {
	return int(*s.status(folder).NumMessages)
}

// Unseen counts the messages of a folder that nobody has read.
func (s *Server) Unseen(folder string) int {
	return int(*s.status(folder).NumUnseen)
}

// Deleted counts the messages of a folder that are marked as deleted.
func (s *Server) Deleted(folder string) int {
	return int(*s.status(folder).NumDeleted)
}

func (s *Server) status(folder string) *imap.StatusData {
	data, err := s.user.Status(folder, &imap.StatusOptions{NumMessages: true, NumUnseen: true, NumDeleted: true})
	must(err)
	return data
}

// settleLimit is how long Settled waits.
const settleLimit = 30 * time.Second

// Settled waits until every session has ended: only then is all done that
// clients asked for. It panics if one has not after half a minute, which is
// most often a client that still has its connection.
func (s *Server) Settled() {
	s.mu.Lock()
	live := s.live
	if live == 0 {
		s.mu.Unlock()
		return
	}
	if s.idle == nil {
		s.idle = make(chan struct{})
	}
	idle := s.idle
	s.mu.Unlock()
	timer := time.NewTimer(settleLimit)
	defer timer.Stop()
	select {
	case <-idle:
	case <-timer.C:
		panic(fmt.Sprintf("imaptest: of %d sessions not all have ended after %v", live, settleLimit))
	}
}

// Commands gives what clients said after their logins, a line each, of all
// connections in their order. It sees nothing of what was encrypted by
// STARTTLS.
func (s *Server) Commands() []string {
	s.mu.Lock()
	logs := slices.Clone(s.logs)
	s.mu.Unlock()
	var list []string
	for _, t := range logs {
		for _, line := range strings.Split(string(t.bytes()), "\r\n") {
			_, command, ok := strings.Cut(line, " ")
			if ok && !strings.HasPrefix(command, "LOGIN") && !strings.HasPrefix(command, "AUTHENTICATE") {
				list = append(list, command)
			}
		}
	}
	return list
}

// Close stops the server and ends all connections. It may be called twice.
func (s *Server) Close() {
	s.mu.Lock()
	again := s.closed
	s.closed = true
	for c := range s.conns {
		_ = c.Close()
	}
	s.mu.Unlock()
	if again {
		return
	}
	// The sessions end by themselves, now that their connections are gone. The
	// memory server must not do it: it would close TLS beneath a session that
	// is in the middle of a mail, which then waits for itself for ever.
	s.Settled()
	_ = s.srv.Close()
	<-s.done
	s.wg.Wait()
}

// String names the server in messages of tests.
func (s *Server) String() string { return fmt.Sprintf("imaptest server at %s", s.Addr) }
