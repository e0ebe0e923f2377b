package webdavtest

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
)

// The one account of every server, its mail address and its mailbox.
const (
	User     = `EXAMPLE\ann`
	Password = "ann-s3cret+/=&"
	Address  = "ann@example.com"
	Alias    = "ann"
)

// A Version is that of the Exchange that is played.
type Version uint8

// The versions.
const (
	Exchange2003 Version = iota
	Exchange2007
)

// An Option sets how a server behaves.
type Option func(*Server)

// WithVersion chooses the version; the default is Exchange2003.
func WithVersion(v Version) Option { return func(s *Server) { s.version = v } }

// WithForms has the server want its login form instead of HTTP authentication.
func WithForms() Option { return func(s *Server) { s.forms = true } }

// WithNTLM has the server want NTLM, with the checks of a hardened one: channel
// binding in TLS, message integrity.
func WithNTLM() Option { return func(s *Server) { s.ntlm = true } }

// WithFrameset puts the form into a frame of the login page, as proxies do.
func WithFrameset() Option { return func(s *Server) { s.frameset = true } }

// WithTLS serves https.
func WithTLS() Option { return func(s *Server) { s.tls = true } }

// WithLocalised gives the folders names of another language, with blanks around
// their URLs.
func WithLocalised() Option { return func(s *Server) { s.names = german } }

// WithInternalHost makes the URLs in answers those of another host.
func WithInternalHost(host string) Option { return func(s *Server) { s.internal = host } }

// WithoutContentRange has SEARCH ignore row ranges.
func WithoutContentRange() Option { return func(s *Server) { s.noRange = true } }

// WithPrefix sets the prefix of DAV: in answers; the default is "a".
func WithPrefix(p string) Option { return func(s *Server) { s.prefix = p } }

// WithoutWebDAV answers WebDAV's methods with a status, as a 2007 whose WebDAV
// is switched off does; Outlook Web Access goes on.
func WithoutWebDAV(status int) Option { return func(s *Server) { s.off = status } }

// WithoutBase leaves the base element out of the mailbox's page.
func WithoutBase() Option { return func(s *Server) { s.noBase = true } }

// A Request is one that the server got.
type Request struct {
	Method string
	URI    string // as in the request line
	Host   string
	Header http.Header
	Body   string // its first 256 KiB
	Conn   string // the client's end of the connection
}

// A Server is a fake Exchange with one mailbox. Any number of goroutines may
// use it. Close must be called.
type Server struct {
	// URL is where it listens, without a path.
	URL string

	version  Version
	forms    bool
	ntlm     bool
	frameset bool
	tls      bool
	noRange  bool
	noBase   bool
	off      int
	names    map[string]string
	internal string
	prefix   string

	http   *httptest.Server
	serial atomic.Int64

	mu        sync.Mutex
	settled   sync.Cond          // of mu: busy became 0
	busy      int                // requests being answered
	folders   map[string]*folder // by path below the mailbox
	sessions  map[string]bool
	requests  []Request
	sent      []Sent
	logins    int
	intercept func(http.ResponseWriter, *http.Request) bool
}

// NewServer starts a server on loopback.
func NewServer(opts ...Option) *Server {
	s := &Server{folders: map[string]*folder{}, sessions: map[string]bool{}, names: english, prefix: "a"}
	s.settled.L = &s.mu
	for _, o := range opts {
		o(s)
	}
	for _, name := range s.names {
		s.folders[name] = &folder{}
	}
	for _, name := range []string{"", "NON_IPM_SUBTREE", "NON_IPM_SUBTREE/Finder"} {
		s.folders[name] = &folder{}
	}
	s.http = httptest.NewUnstartedServer(http.HandlerFunc(s.serve))
	s.http.Config.ConnContext = withLogin
	s.http.Config.ErrorLog = log.New(io.Discard, "", 0)
	if s.tls {
		s.http.StartTLS()
	} else {
		s.http.Start()
	}
	s.URL = s.http.URL
	return s
}

// Close stops the server and drops its connections.
func (s *Server) Close() {
	s.http.CloseClientConnections()
	s.http.Close()
}

// RootCAs trusts the certificate of a server with TLS.
func (s *Server) RootCAs() *x509.CertPool {
	pool := x509.NewCertPool()
	if c := s.http.Certificate(); c != nil {
		pool.AddCert(c)
	}
	return pool
}

// Mailbox is the URL of the mailbox.
func (s *Server) Mailbox() string { return s.URL + mailboxPath }

const mailboxPath = "/exchange/" + Alias + "/"

// Intercept lets f answer requests; where it returns false the server does. nil
// ends that.
func (s *Server) Intercept(f func(http.ResponseWriter, *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.intercept = f
}

// Requests gives what the server was asked so far.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Request(nil), s.requests...)
}

// Logins counts the forms that were sent.
func (s *Server) Logins() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.logins
}

// Expire ends all sessions of the form.
func (s *Server) Expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.sessions)
}

// Settled returns when no request is being answered.
func (s *Server) Settled() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.busy > 0 {
		s.settled.Wait()
	}
}

// begin counts a request until the function that it returns is called.
func (s *Server) begin() (end func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.busy--; s.busy == 0 {
			s.settled.Broadcast()
		}
	}
}

const maxNoted = 256 << 10

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	defer s.begin()()
	note := Request{Method: r.Method, URI: r.RequestURI, Host: r.Host, Header: r.Header.Clone(), Conn: r.RemoteAddr}
	if r.ContentLength >= 0 && r.ContentLength <= maxNoted {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler) // the client is gone
		}
		note.Body = string(b)
		r.Body = io.NopCloser(bytes.NewReader(b))
	}
	s.mu.Lock()
	s.requests = append(s.requests, note)
	intercept := s.intercept
	s.mu.Unlock()
	if intercept != nil && intercept(w, r) {
		return
	}
	w.Header().Set("Server", "Microsoft-IIS/6.0")
	if s.login(w, r) {
		s.dav(w, r)
	}
}

// origin is that of the URLs in answers.
func (s *Server) origin() string {
	if s.internal != "" {
		return "http://" + s.internal
	}
	return s.URL
}

// html writes a page.
func html(w http.ResponseWriter, format string, args ...any) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = fmt.Fprintf(w, "<html><head><title>Microsoft Outlook Web Access</title></head><body>"+format+"</body></html>", args...)
}

func has(h http.Header, name, value string) bool { return strings.EqualFold(h.Get(name), value) }
