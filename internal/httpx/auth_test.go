package httpx

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/internal/httpauth"
)

func mustDo(t *testing.T, c *Client, s *server, body string) {
	t.Helper()
	got, status, err := do(t, c, s, http.MethodPost, body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, body, got)
}

// wantRefused holds an error of a login against what it must say and not say.
func wantRefused(t *testing.T, err error, kind driver.Kind) {
	t.Helper()
	require.Error(t, err)
	assert.Equal(t, kind, driver.KindOf(err), "%v", err)
	var de *driver.Error
	require.ErrorAs(t, err, &de)
	assert.Equal(t, "auth", de.Op)
	assert.NotContains(t, err.Error(), password)
	assert.NotContains(t, err.Error(), url.QueryEscape(password))
}

func TestBasic(t *testing.T) {
	t.Parallel()
	s := newServer(t, "basic", true)
	mustDo(t, newClient(t, s, Options{}, driver.WithLogin(user, password)), s, "one")
	assert.Len(t, s.requests(), 2, "asked first")
	mustDo(t, newClient(t, s, Options{}, driver.WithLogin(user, password), driver.WithMechanisms("BASIC")), s, "two")
	assert.Len(t, s.requests(), 3, "named, and so not asked")
	_, _, err := do(t, newClient(t, s, Options{}, driver.WithLogin(user, "wrong")), s, http.MethodPost, "x")
	wantRefused(t, err, driver.KindAuth)
	assert.Len(t, s.requests(), 5, "a refused password is not tried again")
	_, status, err := do(t, newClient(t, s, Options{Anonymous: true}, driver.WithLogin(user, password)), s, http.MethodPost, "x")
	require.NoError(t, err)
	assert.Equal(t, 401, status, "whoever has no credentials sees the answer")
}

// No secret leaves in clear unless that is permitted by name.
func TestNothingInClear(t *testing.T) {
	t.Parallel()
	for _, scheme := range []string{"basic", "bearer"} {
		s := newServer(t, scheme, false)
		login := []driver.Option{driver.WithLogin(user, password)}
		if scheme == "bearer" {
			login = append(login, driver.WithTokenSource(func(context.Context) (driver.Token, error) {
				return driver.Token{Value: driver.NewSecret("good")}, nil
			}))
		}
		for _, opts := range [][]driver.Option{nil, {driver.WithMechanisms(scheme)}} {
			_, _, err := do(t, newClient(t, s, Options{}, append(login, opts...)...), s, http.MethodPost, "x")
			wantRefused(t, err, driver.KindPolicy)
			require.ErrorIs(t, err, driver.ErrInsecureAuth)
		}
		for _, r := range s.requests() {
			assert.Empty(t, r.auth)
		}
		mustDo(t, newClient(t, s, Options{}, append(login, driver.WithInsecureAuth(), driver.WithMechanisms(scheme))...), s, "x")
	}
}

func TestDigest(t *testing.T) {
	t.Parallel()
	s := newServer(t, "digest", false)
	c := newClient(t, s, Options{}, driver.WithLogin(user, password))
	for i := range 3 {
		mustDo(t, c, s, fmt.Sprint(i))
	}
	log := s.requests()
	require.Len(t, log, 4, "one challenge for all")
	assert.Contains(t, log[3].auth, "nc=00000003")
	s.mu.Lock()
	s.stale = true
	s.mu.Unlock()
	mustDo(t, c, s, "after a stale nonce")
	assert.Len(t, s.requests(), 6)
	_, _, err := do(t, newClient(t, s, Options{}, driver.WithLogin(user, "wrong")), s, http.MethodPost, "x")
	wantRefused(t, err, driver.KindAuth)
	assert.Len(t, s.requests(), 8, "one try")
}

// askNTLM names what is never taken unasked (A22).
var askNTLM = driver.WithMechanisms("NTLM")

// E26: three messages on one connection, and none after that.
func TestNTLM(t *testing.T) {
	t.Parallel()
	for _, tls := range []bool{false, true} {
		s := newServer(t, "ntlm", tls)
		ann := newClient(t, s, Options{MaxConns: 1}, driver.WithLogin(user, password), askNTLM)
		for i := range 20 {
			mustDo(t, ann, s, fmt.Sprint(i))
		}
		log := s.requests()
		require.Len(t, log, 22)
		assert.Empty(t, log[0].auth)
		assert.True(t, strings.HasPrefix(log[1].auth, "NTLM TlRMTVNTUAAB"))
		assert.Empty(t, log[1].body, "the body waits for the login")
		assert.True(t, strings.HasPrefix(log[2].auth, "NTLM TlRMTVNTUAAD"))
		for _, r := range log {
			assert.Equal(t, 1, r.conn)
		}
		for _, r := range log[3:] {
			assert.Empty(t, r.auth)
		}
		bob := newClient(t, s, Options{MaxConns: 1}, driver.WithLogin(`DOMAIN\bob`, "bob-pass"), askNTLM)
		mustDo(t, bob, s, "bob")
		log = s.requests()
		assert.Equal(t, 2, log[len(log)-1].conn, "two accounts never share a connection")
		before := len(log)
		_, _, err := do(t, newClient(t, s, Options{}, driver.WithLogin(user, "wrong"), askNTLM), s, http.MethodPost, "x")
		wantRefused(t, err, driver.KindAuth)
		assert.Len(t, s.requests(), before+3, "one handshake")
	}
}

// A connection that is lost takes its login with it; the next one gets another.
func TestNTLMLostConnection(t *testing.T) {
	t.Parallel()
	s := newServer(t, "ntlm", false)
	c := newClient(t, s, Options{MaxConns: 1}, driver.WithLogin(user, password), askNTLM)
	mustDo(t, c, s, "one")
	s.CloseClientConnections()
	got, _, err := do(t, c, s, "PROPFIND", "two")
	require.NoError(t, err)
	require.Equal(t, "two", got)
	c.Idle()
	mustDo(t, c, s, "three")
	log := s.requests()
	assert.Equal(t, 3, log[len(log)-1].conn)
	var wg sync.WaitGroup
	many := newClient(t, s, Options{MaxConns: 4}, driver.WithLogin(user, password), askNTLM)
	for i := range 16 {
		wg.Go(func() {
			_, status, err := do(t, many, s, http.MethodPost, fmt.Sprint(i))
			assert.NoError(t, err)
			assert.Equal(t, 200, status)
		})
	}
	wg.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	assert.LessOrEqual(t, s.conns, 7)
}

// E27: a token is replaced once.
func TestBearer(t *testing.T) {
	t.Parallel()
	s := newServer(t, "bearer", true)
	var mu sync.Mutex
	asked := 0
	tokens := []string{"old", "good", "bad", "worse"}
	c := newClient(t, s, Options{}, driver.WithTokenSource(func(context.Context) (driver.Token, error) {
		mu.Lock()
		defer mu.Unlock()
		asked++
		return driver.Token{Value: driver.NewSecret(tokens[asked-1])}, nil
	}))
	mustDo(t, c, s, "one")
	mustDo(t, c, s, "two")
	assert.Equal(t, 2, asked)
	assert.Len(t, s.requests(), 3)
	s.mu.Lock()
	s.token = "another"
	s.mu.Unlock()
	_, _, err := do(t, c, s, http.MethodPost, "x")
	wantRefused(t, err, driver.KindAuth)
	assert.Equal(t, 3, asked, "asked once more, not again and again")
	broken := newClient(t, s, Options{}, driver.WithTokenSource(func(context.Context) (driver.Token, error) {
		return driver.Token{}, errors.New("no refresh token")
	}))
	_, _, err = do(t, broken, s, http.MethodPost, "x")
	require.ErrorIs(t, err, driver.ErrNoToken)
	require.ErrorContains(t, err, "no refresh token")
}

// A30: a server that repeats the token does not get it into an error.
func TestBearerRepeatedByServer(t *testing.T) {
	t.Parallel()
	u := script(t, func(conn net.Conn, r *bufio.Reader) {
		if req := request(r); req != nil {
			_, _ = io.WriteString(conn, "HTTP/1.1 401 not "+req.Header.Get("Authorization")+"\r\nWWW-Authenticate: Bearer\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
		}
	})
	n := driver.NewNetwork()
	var asked atomic.Int32
	require.NoError(t, driver.Apply([]driver.Option{driver.WithInsecureAuth(), driver.WithTokenSource(func(context.Context) (driver.Token, error) {
		return driver.Token{Value: driver.NewSecret(fmt.Sprintf("ya29.t0ken-%d", asked.Add(1)))}, nil
	})}, &n))
	c, err := New(&n, Options{Driver: "TEST", URL: u})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	for range 4 {
		_, err = get(t.Context(), t, c, http.MethodPost, u, "x")
		wantRefused(t, err, driver.KindAuth)
		require.ErrorContains(t, err, "not Bearer")
		assert.NotContains(t, err.Error(), "t0ken")
	}
	assert.LessOrEqual(t, len(c.tokens), maxTokens)
}

// What is not offered is said, with what is; nothing weaker is tried.
func TestNoCommonScheme(t *testing.T) {
	t.Parallel()
	s := newServer(t, "basic", true)
	_, _, err := do(t, newClient(t, s, Options{}, driver.WithLogin(user, password), driver.WithMechanisms("DIGEST", "NTLM")), s, http.MethodPost, "x")
	wantRefused(t, err, driver.KindAuth)
	var se *SchemeError
	require.ErrorAs(t, err, &se)
	assert.Equal(t, []string{"basic", "unknown"}, se.Offered)
	assert.Equal(t, []string{"digest", "ntlm"}, se.Allowed)
	assert.Len(t, s.requests(), 1)
	for _, bad := range []struct {
		opts []driver.Option
		text string
	}{
		{[]driver.Option{driver.WithLogin(user, password), driver.WithMechanisms("APOP")}, "APOP"},
		{[]driver.Option{driver.WithLogin(user, password), driver.WithMechanisms("BEARER")}, "WithTokenSource"},
	} {
		n := driver.NewNetwork()
		require.NoError(t, driver.Apply(bad.opts, &n))
		_, err := New(&n, Options{Driver: "TEST", URL: &url.URL{Scheme: "https", Host: "h"}})
		require.ErrorContains(t, err, bad.text)
		assert.Equal(t, driver.KindConfig, driver.KindOf(err))
	}
}

// A context whose steps are scripted, for Negotiate.
type fakeContext struct {
	out    [][]byte
	got    [][]byte
	wrong  bool
	closed bool
}

func (f *fakeContext) Step(in []byte) ([]byte, bool, error) {
	f.got = append(f.got, in)
	if f.wrong && in != nil {
		return nil, false, errors.New("not the server's")
	}
	if len(f.got) > len(f.out) {
		return nil, true, nil
	}
	return f.out[len(f.got)-1], false, nil
}
func (f *fakeContext) Wrap(b []byte) ([]byte, error)   { return b, nil }
func (f *fakeContext) Unwrap(b []byte) ([]byte, error) { return b, nil }
func (f *fakeContext) Close() error                    { f.closed = true; return nil }

type fakeNegotiator struct {
	mu       sync.Mutex
	contexts []*fakeContext
	next     func() *fakeContext
	target   string
}

func (f *fakeNegotiator) Start(_ context.Context, service, host string, _ []byte) (driver.SecurityContext, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.next()
	f.contexts = append(f.contexts, c)
	f.target = service + "/" + host
	return c, nil
}

// RFC 4559: a token with each request, and the server's own is checked.
func TestNegotiate(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		out   [][]byte
		wrong bool
		proof string
		fails bool
	}{
		{"one leg, proof", [][]byte{[]byte("first")}, false, " cHJvb2Y=", false},
		{"two legs", [][]byte{[]byte("zero"), []byte("first")}, false, " cHJvb2Y=", false},
		{"a wrong proof", [][]byte{[]byte("first")}, true, " cHJvb2Y=", true},
		{"no proof without TLS", [][]byte{[]byte("first")}, false, "", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, "", false)
			s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch r.Header.Get("Authorization") {
				case "Negotiate Zmlyc3Q=": // "first"
					w.Header().Set("WWW-Authenticate", "Negotiate"+c.proof)
				case "Negotiate emVybw==":
					w.Header().Set("WWW-Authenticate", "Negotiate bW9yZQ==")
					w.WriteHeader(401)
				default:
					w.Header().Set("WWW-Authenticate", "Negotiate")
					w.WriteHeader(401)
				}
			})
			neg := &fakeNegotiator{next: func() *fakeContext { return &fakeContext{out: c.out, wrong: c.wrong} }}
			cl := newClient(t, s, Options{}, driver.WithNegotiator(neg))
			for range 2 {
				_, status, err := do(t, cl, s, http.MethodPost, "x")
				if c.fails {
					wantRefused(t, err, driver.KindAuth)
					break
				}
				require.NoError(t, err)
				assert.Equal(t, 200, status)
			}
			assert.Equal(t, "HTTP/127.0.0.1", neg.target)
			for _, x := range neg.contexts {
				assert.True(t, x.closed)
			}
		})
	}
}

// A22: NTLM can be cracked and relayed, and a password is no substitute for a ticket or a token that was to be used.
func TestA22NothingButWhatWasMeant(t *testing.T) {
	t.Parallel()
	tokens := driver.WithTokenSource(func(context.Context) (driver.Token, error) {
		return driver.Token{Value: driver.NewSecret("token-value")}, nil
	})
	for name, c := range map[string]struct {
		scheme string
		opts   []driver.Option
	}{
		"NTLM unasked":           {"ntlm", []driver.Option{driver.WithLogin(user, password)}},
		"a token, Basic offered": {"basic", []driver.Option{driver.WithLogin(user, password), tokens}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, c.scheme, true)
			_, _, err := do(t, newClient(t, s, Options{}, c.opts...), s, http.MethodPost, "x")
			wantRefused(t, err, driver.KindAuth)
			for _, r := range s.requests() {
				assert.True(t, r.auth == "" || strings.HasPrefix(r.auth, "Bearer "), r.auth)
			}
		})
	}
}

// RFC 7616 section 3.5: a server that does not know the password cannot say that it took it.
func TestDigestServerProof(t *testing.T) {
	t.Parallel()
	s := newServer(t, "digest", false)
	c := newClient(t, s, Options{}, driver.WithLogin(user, password))
	mustDo(t, c, s, "proven")
	s.mu.Lock()
	s.liar = true
	s.mu.Unlock()
	_, _, err := do(t, c, s, http.MethodPost, "not proven")
	wantRefused(t, err, driver.KindAuth)
	require.ErrorIs(t, err, httpauth.ErrDigest)
}

// A token that was refused is not sent again.
func TestBearerWithoutAnotherToken(t *testing.T) {
	t.Parallel()
	s := newServer(t, "bearer", true)
	c := newClient(t, s, Options{}, driver.WithTokenSource(func(context.Context) (driver.Token, error) {
		return driver.Token{Value: driver.NewSecret("refused-one")}, nil
	}))
	_, _, err := do(t, c, s, http.MethodPost, "x")
	wantRefused(t, err, driver.KindAuth)
	sent := 0
	for _, r := range s.requests() {
		if r.auth != "" {
			sent++
		}
	}
	assert.Equal(t, 1, sent)
}
