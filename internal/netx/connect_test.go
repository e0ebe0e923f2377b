package netx

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/internal/sasl/sasltest"
)

// A connectCase is a dialogue with an HTTP proxy: what each request must hold,
// and the answer. "" as an answer closes the connection.
type connectCase struct {
	name   string
	opts   []driver.Option
	turns  []string // substring of the request, answer...
	want   driver.Kind
	step   string
	text   string
	target string
}

func connectCases() []connectCase {
	login := driver.WithProxyLogin("ann", "s3cret-pw")
	basic := "Proxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("ann:s3cret-pw")) + "\r\n"
	const ok = "HTTP/1.1 200 OK\r\n\r\n" + greeting
	deny := func(challenges string) string {
		return "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 4\r\n" + challenges + "\r\nno!\n"
	}
	nonce := "Proxy-Authenticate: Digest realm=\"r\", nonce=\"n1\", qop=\"auth\", algorithm=SHA-256\r\n"
	return []connectCase{
		{name: "plain", turns: []string{"CONNECT mail.example.com:25 HTTP/1.1\r\nHost: mail.example.com:25\r\n\r\n", ok}},
		{name: "IPv6", target: "[2001:db8::1]:25", turns: []string{"CONNECT [2001:db8::1]:25 HTTP/1.1\r\n", ok}},
		{name: "a name of other letters", target: "bücher.example:25", turns: []string{"CONNECT xn--bcher-kva.example:25 HTTP/1.1\r\n", ok}},
		{name: "HTTP/1.0", turns: []string{"CONNECT ", "HTTP/1.0 200 Connection established\r\nProxy-Agent: x\r\n\r\n" + greeting}},
		{name: "an interim answer", turns: []string{"CONNECT ", "HTTP/1.1 100 Continue\r\n\r\n" + ok}},
		{name: "A28 a length with 200 counts for nothing", turns: []string{"CONNECT ", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n" + greeting}},
		{name: "A28 nor does a coding", turns: []string{"CONNECT ", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + greeting}},
		{name: "basic", opts: []driver.Option{login}, turns: []string{"\r\n\r\n", deny("Proxy-Authenticate: Basic realm=\"x\"\r\n"), basic, ok}},
		{name: "basic by name goes at once", opts: []driver.Option{login, driver.WithProxyMechanisms("BASIC")}, turns: []string{basic, ok}},
		{name: "connection closed with 407", opts: []driver.Option{login}, turns: []string{"\r\n\r\n", "HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm=x\r\nConnection: close\r\n\r\n", basic, ok}},
		{name: "407 without an end", opts: []driver.Option{login}, turns: []string{"\r\n\r\n", "HTTP/1.0 407 No\r\nProxy-Authenticate: Basic realm=x\r\n\r\n<html>", basic, ok}},
		{name: "digest before basic", opts: []driver.Option{login}, turns: []string{"\r\n\r\n", deny("Proxy-Authenticate: Basic realm=x\r\n" + nonce), `Proxy-Authorization: Digest username="ann"`, ok}},
		{name: "a stale nonce once", opts: []driver.Option{login}, turns: []string{"\r\n\r\n", deny(nonce), `nonce="n1"`, deny(strings.ReplaceAll(nonce, `"n1"`, `"n2", stale=true`)), `nonce="n2"`, ok}},
		{name: "A28 stale again and again", opts: []driver.Option{login}, turns: []string{
			"\r\n\r\n", deny(nonce), `nonce="n1"`, deny(strings.ReplaceAll(nonce, `"n1"`, `"n2", stale=true`)), `nonce="n2"`, deny(strings.ReplaceAll(nonce, `"n1"`, `"n3", stale=true`)),
		}, want: driver.KindAuth, step: "login", text: "refuses"},
		{name: "wrong login", opts: []driver.Option{login}, turns: []string{"\r\n\r\n", deny(nonce), `nonce="n1"`, deny(nonce)}, want: driver.KindAuth, step: "login", text: "refuses the user name or password"},
		{name: "no login", turns: []string{"\r\n\r\n", deny(nonce)}, want: driver.KindAuth, step: "login", text: `wants a login ("Digest"): driver.WithProxyLogin`},
		{name: "A22 NTLM only if named", opts: []driver.Option{login}, turns: []string{"\r\n\r\n", deny("Proxy-Authenticate: NTLM\r\nProxy-Authenticate: Negotiate\r\n")}, want: driver.KindAuth, step: "login", text: "driver.WithProxyMechanisms"},
		{name: "A28 basic by name, and digest wanted", opts: []driver.Option{login, driver.WithProxyMechanisms("Basic")}, turns: []string{basic, deny(nonce)}, want: driver.KindAuth, step: "login", text: "none of Basic"},
		{name: "401 for a wrong login", opts: []driver.Option{login}, turns: []string{"\r\n\r\n", deny("Proxy-Authenticate: Basic realm=x\r\n"), basic, "HTTP/1.0 401 Unauthorized\r\n\r\n"}, want: driver.KindAuth, step: "login", text: "refuses"},
		{name: "A24 basic not answered when digest is named", opts: []driver.Option{login, driver.WithProxyMechanisms("Digest")}, turns: []string{"\r\n\r\n", deny("Proxy-Authenticate: Basic realm=x\r\n")}, want: driver.KindAuth, step: "login", text: "none of Digest"},
		{name: "407 without a challenge", opts: []driver.Option{login}, turns: []string{"\r\n\r\n", deny("")}, want: driver.KindProtocol, step: "login", text: "does not say which"},
		{name: "A28 407 with a broken challenge", opts: []driver.Option{login}, turns: []string{"\r\n\r\n", deny("Proxy-Authenticate: \"\r\n")}, want: driver.KindProtocol, step: "login", text: "malformed"},
		{name: "refused", turns: []string{"CONNECT ", "HTTP/1.1 403 Not \x1b[31mhere\r\n\r\n"}, want: driver.KindTemporary, step: "request", text: `403 Not \x1b[31mhere`},
		{name: "A28 a redirect is not followed", opts: []driver.Option{login}, turns: []string{"CONNECT ", "HTTP/1.1 302 Found\r\nLocation: http://evil.example/\r\n\r\n"}, want: driver.KindTemporary, step: "request", text: "302"},
		{name: "A28 a switch of protocols", turns: []string{"CONNECT ", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"}, want: driver.KindProtocol, step: "request", text: "switches"},
		{name: "A28 not HTTP", turns: []string{"CONNECT ", greeting}, want: driver.KindProtocol, step: "request", text: "not HTTP"},
		{name: "A28 a header without end", turns: []string{"CONNECT ", "HTTP/1.1 200 OK\r\n" + strings.Repeat("X: "+strings.Repeat("y", 1000)+"\r\n", 1000)}, want: driver.KindProtocol, step: "request", text: "limit exceeded"},
		{name: "A28 interim answers without end", turns: []string{"CONNECT ", strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 50)}, want: driver.KindProtocol, step: "request", text: "interim"},
		{name: "closed", turns: []string{"CONNECT ", ""}, want: driver.KindTemporary, step: "request", text: "closed the connection"},
	}
}

// connectProxy plays the turns over as many connections as it takes.
func connectProxy(t *testing.T, turns []string) (addr string, left func() int) {
	var mu sync.Mutex
	addr = listen(t, func(nc net.Conn) {
		mu.Lock()
		defer mu.Unlock()
		r := bufio.NewReader(nc)
		for len(turns) > 0 {
			var head strings.Builder
			for !strings.HasSuffix(head.String(), "\r\n\r\n") {
				line, err := r.ReadString('\n')
				if err != nil {
					return // the client came with another connection
				}
				head.WriteString(line)
			}
			assert.Contains(t, head.String(), turns[0])
			answer := turns[1]
			turns = turns[2:]
			if _, err := io.WriteString(nc, answer); err != nil || answer == "" {
				return
			}
			if strings.Contains(answer, "Connection: close") || strings.HasPrefix(answer, "HTTP/1.0 4") {
				return
			}
		}
		_, _ = io.Copy(io.Discard, r)
	})
	return addr, func() int { mu.Lock(); defer mu.Unlock(); return len(turns) }
}

func TestCONNECT(t *testing.T) {
	for _, c := range connectCases() {
		t.Run(c.name, func(t *testing.T) {
			addr, left := connectProxy(t, c.turns)
			line, err := through(t, c.target, append(c.opts, driver.WithProxy(driver.ProxyHTTP, addr))...)
			if c.step == "" {
				require.NoError(t, err)
				assert.Equal(t, "220 hello", line, "every byte behind the header is the server's")
				assert.Zero(t, left())
				return
			}
			pe, ok := errors.AsType[*driver.ProxyError](err)
			require.True(t, ok, "%v", err)
			assert.Equal(t, c.step, pe.Step)
			assert.Equal(t, c.want, driver.KindOf(err), "%v", err)
			assert.ErrorContains(t, err, c.text)
			assert.NotContains(t, err.Error(), "s3cret-pw")
			assert.Less(t, len(err.Error()), 1000)
		})
	}
}

// TestA30ProxyRepeatsTheLogin has a proxy say back what it was told, in its
// status line, as a scheme, and in what is not HTTP, with the login of the
// options and of the environment.
func TestA30ProxyRepeatsTheLogin(t *testing.T) {
	const user, pass = "annabel", "prox-Secret9"
	basic := base64.StdEncoding.EncodeToString([]byte(user + ":" + pass))
	secrets := []string{pass, basic, base64.StdEncoding.EncodeToString([]byte(pass)), hex.EncodeToString([]byte(pass)), url.QueryEscape(user + ":" + pass)}
	said := "you said Basic " + strings.Join(secrets, " and ")
	for _, c := range []struct{ name, answer string }{
		{"status", "HTTP/1.1 403 " + said + "\r\n\r\n"},
		{"a long status", "HTTP/1.1 403 " + strings.Repeat("x", MaxQuoted-8-len("403 ")) + pass + "\r\n\r\n"},
		{"scheme", "HTTP/1.1 407 " + said + "\r\nProxy-Authenticate: " + pass + " realm=x\r\nContent-Length: 0\r\n\r\n"},
		{"refused", "HTTP/1.1 407 " + said + "\r\nProxy-Authenticate: Basic realm=\"" + pass + "\"\r\nContent-Length: 0\r\n\r\n"},
		{"not HTTP", said + "\r\n\r\n"},
		{"a bad header", "HTTP/1.1 200 OK\r\n" + pass + "\r\n\r\n"},
		{"a bad length", "HTTP/1.1 200 OK\r\nContent-Length: " + pass + "\r\n\r\n"},
	} {
		for _, env := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, environment %v", c.name, env), func(t *testing.T) {
				addr, left := connectProxy(t, []string{
					"\r\n\r\n", "HTTP/1.1 407 x\r\nProxy-Authenticate: Basic realm=x\r\nContent-Length: 0\r\n\r\n",
					"Proxy-Authorization: Basic " + basic + "\r\n", c.answer,
				})
				opts := []driver.Option{driver.WithProxy(driver.ProxyHTTP, addr), driver.WithProxyLogin(user, pass)}
				if env {
					t.Setenv("NO_PROXY", "")
					t.Setenv("no_proxy", "")
					t.Setenv("ALL_PROXY", "http://"+user+":"+pass+"@"+addr)
					opts = nil
				}
				trace := &notes{}
				opts = append(opts, driver.WithTrace(func(string, string) (io.WriteCloser, error) { return trace, nil }))
				_, err := through(t, "", opts...)
				require.Error(t, err)
				assert.Zero(t, left(), "the login was sent")
				shown := fmt.Sprintf("%v\n%+v\n%s", err, err, trace)
				assert.Contains(t, trace.String(), "CONNECT mail.example.com:25")
				for _, s := range append(secrets, pass[:9]) {
					assert.NotContains(t, shown, s)
				}
			})
		}
	}
	t.Run("a SOCKS login of the environment is not in what the server repeats", func(t *testing.T) {
		proxy := listen(t, func(nc net.Conn) {
			play(t, nc, []string{"\x05\x02\x00\x02", "\x05\x02", "\x01\x07" + user + "\x0c" + pass, "\x01\x00", "\x05\x01\x00\x03\x10mail.example.com\x00\x19", "\x05\x00\x00\x01\x7f\x00\x00\x01\x04\x00220 " + pass + "\r\n"})
		})
		t.Setenv("NO_PROXY", "")
		t.Setenv("no_proxy", "")
		t.Setenv("ALL_PROXY", "socks5://"+user+":"+pass+"@"+proxy)
		trace := &notes{}
		line, err := through(t, "", driver.WithTrace(func(string, string) (io.WriteCloser, error) { return trace, nil }))
		require.NoError(t, err)
		assert.Equal(t, "220 "+pass, line)
		assert.Contains(t, trace.String(), "220 [secret]")
		assert.NotContains(t, trace.String(), pass)
	})
}

// ntlmProxy is a proxy that takes NTLM alone, on one connection, as a strict
// server does: integrity code, service name, and in TLS the channel binding.
func ntlmProxy(t *testing.T, cert *tls.Certificate, bindTo []byte, hangUp bool) string {
	return listen(t, func(nc net.Conn) {
		setting := sasltest.Setting{Accounts: []sasltest.Account{{User: "ann", Password: "s3cret-pw"}}, Service: "HTTP", Host: "127.0.0.1"}
		if cert != nil {
			s := tls.Server(nc, &tls.Config{Certificates: []tls.Certificate{*cert}})
			if s.Handshake() != nil {
				return
			}
			state := s.ConnectionState()
			setting.TLS, setting.Leaf, nc = &state, bindTo, s
		}
		r := bufio.NewReader(nc)
		server := sasltest.New("NTLM", setting)
		for {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			text, ntlm := strings.CutPrefix(req.Header.Get("Proxy-Authorization"), "NTLM ")
			if !ntlm {
				fmt.Fprint(nc, "HTTP/1.1 407 Login\r\nProxy-Authenticate: NTLM\r\nProxy-Authenticate: Basic realm=x\r\nContent-Length: 0\r\n\r\n")
				continue
			}
			token, err := base64.StdEncoding.DecodeString(text)
			assert.NoError(t, err)
			challenge, done, _, err := server.Next(token)
			switch {
			case err != nil:
				fmt.Fprint(nc, "HTTP/1.1 407 Login\r\nProxy-Authenticate: NTLM\r\nContent-Length: 0\r\n\r\n")
				server = sasltest.New("NTLM", setting)
			case done:
				fmt.Fprint(nc, "HTTP/1.1 200 OK\r\n\r\n"+greeting)
			default:
				fmt.Fprintf(nc, "HTTP/1.1 407 Login\r\nProxy-Authenticate: NTLM %s\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", base64.StdEncoding.EncodeToString(challenge))
				if hangUp {
					return
				}
			}
		}
	})
}

func TestConnectNTLM(t *testing.T) {
	ca := newIssuer(t)
	tmpl := func() *x509.Certificate {
		return &x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	}
	cert, other := ca.issue(t, tmpl()), ca.issue(t, tmpl())
	roots := driver.WithRootCAs(ca.pool())
	for _, c := range []struct {
		name     string
		kind     driver.ProxyKind
		proxy    string
		user, pw string
		text     string
	}{
		{"right", driver.ProxyHTTP, ntlmProxy(t, nil, nil, false), "ann", "s3cret-pw", ""},
		{"with its domain", driver.ProxyHTTP, ntlmProxy(t, nil, nil, false), `EXAMPLE\ann`, "s3cret-pw", ""},
		{"wrong password", driver.ProxyHTTP, ntlmProxy(t, nil, nil, false), "ann", "wrong-pw", "refuses the user name or password"},
		{"bound to TLS", driver.ProxyHTTPS, ntlmProxy(t, &cert, cert.Certificate[0], false), "ann", "s3cret-pw", ""},
		{"A22 a relay in front of it", driver.ProxyHTTPS, ntlmProxy(t, &cert, other.Certificate[0], false), "ann", "s3cret-pw", "refuses"},
		{"closed in the middle", driver.ProxyHTTP, ntlmProxy(t, nil, nil, true), "ann", "s3cret-pw", " request: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			line, err := through(t, "", roots, driver.WithProxy(c.kind, c.proxy), driver.WithProxyLogin(c.user, c.pw), driver.WithProxyMechanisms("NTLM"))
			if c.text == "" {
				require.NoError(t, err)
				assert.Equal(t, "220 hello", line)
				return
			}
			require.ErrorContains(t, err, c.text)
			pe, ok := errors.AsType[*driver.ProxyError](err)
			require.True(t, ok)
			assert.NotEqual(t, "connect", pe.Step)
		})
	}
}
