package httpx

import (
	"context"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/internal/sasl/sasltest"
)

const (
	user     = "ann"
	password = "s3cret+/ =&"
)

// A seen is one request as the server got it.
type seen struct {
	method, auth, body string
	conn               int
}

// A server is a web server that wants a login of some kind. It echoes bodies.
type server struct {
	*httptest.Server
	scheme string

	mu     sync.Mutex
	conns  int
	log    []seen
	nonces int
	stale  bool   // refuse the nonce in use once
	liar   bool   // proves nothing of itself
	token  string // that Bearer wants
}

type connKey struct{}

// A connState is what an NTLM server knows of a connection.
type connState struct {
	no   int
	ntlm sasltest.Server
	user string
}

func newServer(t *testing.T, scheme string, tls bool) *server {
	t.Helper()
	s := &server{scheme: scheme, token: "good"}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(s.serve))
	s.Config.ConnContext = func(ctx context.Context, _ net.Conn) context.Context {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.conns++
		return context.WithValue(ctx, connKey{}, &connState{no: s.conns})
	}
	if tls {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return s
}

func (s *server) requests() []seen {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]seen(nil), s.log...)
}

func (s *server) serve(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	cs := r.Context().Value(connKey{}).(*connState)
	auth := r.Header.Get("Authorization")
	s.mu.Lock()
	s.log = append(s.log, seen{r.Method, auth, string(body), cs.no})
	s.mu.Unlock()
	if s.permitted(w, r, cs, auth) {
		_, _ = w.Write(body)
		return
	}
	http.Error(w, "no", http.StatusUnauthorized)
}

func (s *server) permitted(w http.ResponseWriter, r *http.Request, cs *connState, auth string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	word, rest, _ := strings.Cut(auth, " ")
	switch s.scheme {
	case "":
		return true
	case "basic":
		if u, p, ok := r.BasicAuth(); ok && u == user && p == password {
			return true
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="x, y", Unknown a=b`)
	case "bearer":
		if word == "Bearer" && rest == s.token {
			return true
		}
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
	case "digest":
		return s.digest(w, r, auth)
	case "ntlm":
		w.Header().Add("WWW-Authenticate", "Negotiate")
		return s.ntlm(w, r, cs, word, rest)
	}
	return false
}

// digest is RFC 7616 with MD5, the nonce being a number.
func (s *server) digest(w http.ResponseWriter, r *http.Request, auth string) bool {
	p := map[string]string{}
	for part := range strings.SplitSeq(strings.TrimPrefix(auth, "Digest "), ", ") {
		k, v, _ := strings.Cut(part, "=")
		p[k] = strings.Trim(v, `"`)
	}
	h := func(text string) string { sum := md5.Sum([]byte(text)); return hex.EncodeToString(sum[:]) }
	want := h(h(user+":r:"+password) + ":" + p["nonce"] + ":" + p["nc"] + ":" + p["cnonce"] + ":auth:" + h(r.Method+":"+r.RequestURI))
	right := p["response"] == want && p["uri"] == r.RequestURI
	if right && !s.stale && p["nonce"] == fmt.Sprint(s.nonces) {
		proof := h(h(user+":r:"+password) + ":" + p["nonce"] + ":" + p["nc"] + ":" + p["cnonce"] + ":auth:" + h(":"+r.RequestURI))
		if s.liar {
			proof = h(proof)
		}
		w.Header().Set("Authentication-Info", fmt.Sprintf(`rspauth="%s", cnonce="%s", nc=%s, qop=auth`, proof, p["cnonce"], p["nc"]))
		return true
	}
	s.nonces++
	s.stale = false
	w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Digest realm="r", nonce="%d", qop="auth", stale=%v`, s.nonces, right))
	return false
}

// ntlm authenticates the connection, with all the checks of a hardened server.
func (s *server) ntlm(w http.ResponseWriter, r *http.Request, cs *connState, word, rest string) bool {
	offer := func(token []byte) bool {
		w.Header().Add("WWW-Authenticate", strings.TrimSpace("NTLM "+base64.StdEncoding.EncodeToString(token)))
		return false
	}
	if word != "NTLM" {
		if cs.user != "" {
			return true
		}
		return offer(nil)
	}
	msg, err := base64.StdEncoding.DecodeString(rest)
	if err != nil {
		return offer(nil)
	}
	if cs.ntlm == nil || len(msg) > 8 && msg[8] == 1 {
		set := sasltest.Setting{Accounts: []sasltest.Account{{User: user, Password: password}, {User: "bob", Password: "bob-pass"}}, Service: "HTTP", Host: "127.0.0.1"}
		if c := s.Certificate(); c != nil {
			set.Leaf, set.TLS = c.Raw, r.TLS
		}
		cs.ntlm, cs.user = sasltest.New("NTLM", set), ""
	}
	challenge, done, who, err := cs.ntlm.Next(msg)
	if err != nil || !done {
		if err != nil {
			cs.ntlm = nil
		}
		return offer(challenge)
	}
	cs.user = who
	return true
}

func newClient(t *testing.T, s *server, o Options, opts ...driver.Option) *Client {
	t.Helper()
	n := driver.NewNetwork()
	base := []driver.Option{driver.WithTimeout(5 * time.Second)}
	if s.Certificate() != nil {
		base = append(base, driver.WithRootCAs(s.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs))
	}
	require.NoError(t, driver.Apply(append(base, opts...), &n))
	u, err := url.Parse(s.URL)
	require.NoError(t, err)
	o.Driver, o.URL = "TEST", u
	c, err := New(&n, o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

// do sends a request and gives the answer's body.
func do(t *testing.T, c *Client, s *server, method, body string) (string, int, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.URL+"/a%20b?c=d", strings.NewReader(body))
	require.NoError(t, err)
	resp, err := c.Do(req)
	if err != nil {
		return "", 0, err
	}
	defer func() { require.NoError(t, resp.Body.Close()) }()
	b, err := io.ReadAll(resp.Body)
	return string(b), resp.StatusCode, err
}
