package ewstest

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/maildriver/maildriver/internal/testcert"
)

// The account that a server has if no other is given.
const (
	User     = "desk@example.com"
	Password = "desk-secret"
)

// ServicePath is where the service is.
const ServicePath = "/EWS/Exchange.asmx"

// maxRequest bounds a request: the fake holds it in memory.
const maxRequest = 512 << 20

type account struct{ user, password string }

// A Server is a fake Exchange. Its methods may be called by any number of
// goroutines. It listens on 127.0.0.1, with TLS and without, until Close.
type Server struct {
	// URL is the address of the service, with TLS.
	URL string
	// PlainURL is the same without TLS.
	PlainURL string

	build       [3]int
	versionName *string
	names       []string
	pageLimit   int
	accounts    []account
	tokens      []string
	auth        func(*http.Request) (string, []string, bool)
	prefixes    *strings.Replacer
	refused     map[string]bool
	recordTo    string

	secure, plain *httptest.Server
	done          chan struct{}
	closing       sync.Once
	connections   atomic.Int64

	mu        sync.Mutex
	boxes     map[string]*box
	sent      []Sent
	log       []*Request
	intercept []func(*Request) *Response
	handlers  map[string]http.Handler
	subs      map[string]*subscription
	counter   int64
}

// NewServer starts a fake with an empty mailbox for each account.
func NewServer(opts ...Option) *Server {
	s := &Server{
		build: [3]int{15, 1, 2507}, pageLimit: 1000, refused: map[string]bool{},
		done: make(chan struct{}), boxes: map[string]*box{}, handlers: map[string]http.Handler{}, subs: map[string]*subscription{},
		recordTo: recordDir(),
	}
	for _, o := range opts {
		o(s)
	}
	if len(s.accounts) == 0 {
		s.accounts = []account{{User, Password}}
	}
	for _, a := range s.accounts {
		s.boxes[strings.ToLower(a.user)] = s.newBox()
	}
	s.secure, s.plain = s.listen(true), s.listen(false)
	s.URL, s.PlainURL = s.secure.URL+ServicePath, s.plain.URL+ServicePath
	return s
}

type connKey struct{}

func (s *Server) listen(secure bool) *httptest.Server {
	h := httptest.NewUnstartedServer(http.HandlerFunc(s.serve))
	h.Config.ErrorLog = log.New(io.Discard, "", 0)
	h.Config.ConnContext = func(ctx context.Context, _ net.Conn) context.Context {
		return context.WithValue(ctx, connKey{}, s.connections.Add(1))
	}
	if !secure {
		h.Start()
		return h
	}
	h.TLS = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{certificate(s.names)}}
	h.StartTLS()
	return h
}

// Close ends the server and all its connections.
func (s *Server) Close() {
	s.closing.Do(func() {
		close(s.done)
		for _, h := range []*httptest.Server{s.secure, s.plain} {
			h.CloseClientConnections()
			h.Close()
		}
	})
}

// Certificate is the server's own.
func (s *Server) Certificate() *x509.Certificate { return s.secure.TLS.Certificates[0].Leaf }

// RootCAs trusts the certificates of all servers of this process.
func (s *Server) RootCAs() *x509.CertPool { return testcert.RootCAs() }

// CA is the certificate of their authority, in PEM.
func (s *Server) CA() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: testcert.Authority().Raw})
}

// Dial takes every name for the server's: port 443 is with TLS, all others are
// without. It fits driver.WithDialer.
func (s *Server) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	to := s.plain.Listener.Addr().String()
	if _, port, err := net.SplitHostPort(addr); err == nil && port == "443" || addr == s.secure.Listener.Addr().String() {
		to = s.secure.Listener.Addr().String()
	}
	return new(net.Dialer).DialContext(ctx, network, to)
}

// Handle serves a path, or with a host before it that host's alone, by other
// means: "/autodiscover/autodiscover.xml", "mail.example.com/x". The requests
// are logged.
func (s *Server) Handle(pattern string, h http.Handler) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handlers[strings.ToLower(pattern)] = h
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != ServicePath {
		s.other(w, r)
		return
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxRequest))
	if err != nil {
		return // the client went away
	}
	req := s.note(r, body)
	if answer := s.intercepted(req); answer != nil {
		answer.write(s, w, r, req)
		return
	}
	user, challenges, ok := s.authenticate(r)
	if !ok {
		for _, c := range challenges {
			w.Header().Add("WWW-Authenticate", c)
		}
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	req.user = user
	w.Header().Set("Request-Id", req.Header.Get("Client-Request-Id"))
	s.operate(w, r, req)
}

// other serves what is not the service.
func (s *Server) other(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(io.LimitReader(r.Body, maxRequest))
	r.Body = io.NopCloser(bytes.NewReader(body))
	s.note(r, body)
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	}
	s.mu.Lock()
	h := s.handlers[strings.ToLower(host+r.URL.Path)]
	if h == nil {
		h = s.handlers[strings.ToLower(r.URL.Path)]
	}
	s.mu.Unlock()
	if h == nil {
		http.NotFound(w, r)
		return
	}
	h.ServeHTTP(w, r)
}

// authenticate checks the credentials: Basic, or a bearer token.
func (s *Server) authenticate(r *http.Request) (user string, challenges []string, ok bool) {
	if s.auth != nil {
		return s.auth(r)
	}
	if name, password, basic := r.BasicAuth(); basic {
		for _, a := range s.accounts {
			if strings.EqualFold(a.user, name) && a.password == password {
				return a.user, nil, true
			}
		}
	}
	if token, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); bearer {
		for _, t := range s.tokens {
			if t == token {
				return s.accounts[0].user, nil, true
			}
		}
	}
	challenges = []string{`Basic realm="` + "ewstest" + `"`}
	if len(s.tokens) > 0 {
		challenges = append(challenges, "Bearer")
	}
	return "", challenges, false
}

// next gives a number that was not given before.
func (s *Server) next() int64 {
	s.counter++
	return s.counter
}

// newID makes an id as long and as opaque as those of Exchange.
func (s *Server) newID(kind string) string {
	return fmt.Sprintf("AAMkAG%s%s/%012dAAA=", kind, strings.Repeat("Qx7", 20), s.next())
}
