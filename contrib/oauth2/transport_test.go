package oauth2_test

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/contrib/oauth2"
	"github.com/maildriver/maildriver/contrib/oauth2/oauth2test"
	"github.com/maildriver/maildriver/driver"
)

// wrapped is what observability libraries make of http.DefaultTransport.
type wrapped struct{ http.RoundTripper }

// withDefaultTransport makes t the default of the process for one test.
func withDefaultTransport(t *testing.T, rt http.RoundTripper) {
	t.Helper()
	old := http.DefaultTransport
	http.DefaultTransport = rt
	t.Cleanup(func() { http.DefaultTransport = old })
}

func clearProxies(t *testing.T) {
	t.Helper()
	for _, name := range []string{"ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "REQUEST_METHOD"} {
		t.Setenv(name, "")
		t.Setenv(strings.ToLower(name), "")
	}
}

func TestDefaultTransportIsNotUsed(t *testing.T) {
	clearProxies(t)
	s := oauth2test.New()
	c := oauth2.Config{ClientID: s.ClientID, Secret: driver.NewSecret(s.ClientSecret)}
	t.Run("wrapped", func(t *testing.T) {
		withDefaultTransport(t, wrapped{http.DefaultTransport})
		srv := httptest.NewServer(s)
		defer srv.Close()
		c.TokenURL = srv.URL + "/token"
		source, err := c.ClientCredentials()
		require.NoError(t, err)
		tok, err := source(t.Context())
		require.NoError(t, err)
		assert.NotEmpty(t, tok.Value.Reveal())
	})
	asked := len(s.Requests())
	t.Run("A25 made to trust anyone", func(t *testing.T) {
		withDefaultTransport(t, &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}) //nolint:gosec // that is the test
		srv := httptest.NewUnstartedServer(s)
		srv.Config.ErrorLog = log.New(io.Discard, "", 0) // of the handshake that fails
		srv.StartTLS()
		defer srv.Close()
		c.TokenURL = srv.URL + "/token"
		source, err := c.ClientCredentials()
		require.NoError(t, err)
		_, err = source(t.Context())
		require.ErrorContains(t, err, "certificate")
		assert.Equal(t, driver.KindPolicy, driver.KindOf(err))
		assert.Len(t, s.Requests(), asked)
	})
}

func TestBadProxyOfTheEnvironment(t *testing.T) {
	for name, c := range map[string]struct{ variable, value, says string }{
		"not a URL":    {"HTTPS_PROXY", "http://u:topsecret@proxy.example:port", "HTTPS_PROXY: the value is not a URL"},
		"scheme":       {"HTTPS_PROXY", "ftp://u:topsecret@proxy.example", "HTTPS_PROXY: the URL is not of"},
		"no host":      {"ALL_PROXY", "http://u:topsecret@", "ALL_PROXY: the URL names no host"},
		"a path":       {"all_proxy", "http://u:topsecret@proxy.example/proxy.pac", "all_proxy: the URL has more"},
		"SOCKS4":       {"ALL_PROXY", "socks4://u:topsecret@proxy.example", "socks4 is not for HTTP here"},
		"control code": {"ALL_PROXY", "http://u:topsecret%0d%0aX:@proxy.example", "control character"},
	} {
		t.Run(name, func(t *testing.T) {
			clearProxies(t)
			t.Setenv(c.variable, c.value)
			config := oauth2.Config{TokenURL: "https://token.invalid/token", ClientID: "app", Secret: driver.NewSecret("s3cret")}
			source, err := config.ClientCredentials()
			require.NoError(t, err)
			_, err = source(t.Context())
			require.ErrorContains(t, err, c.says)
			assert.Equal(t, driver.KindConfig, driver.KindOf(err), "nobody was looked up or asked")
			assert.NotContains(t, err.Error(), "topsecret")
		})
	}
}

// answering takes connections, and answers whatever comes, up to the end of an
// HTTP header and body, with what answer makes of it.
func answering(t *testing.T, answer func(head, body string) string) (addr string, seen func() []string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		heads []string
	)
	wg.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer nc.Close()
				_ = nc.SetDeadline(time.Now().Add(5 * time.Second))
				var head strings.Builder
				r := bufio.NewReader(nc)
				for !strings.HasSuffix(head.String(), "\r\n\r\n") {
					line, err := r.ReadString('\n')
					if err != nil {
						return
					}
					head.WriteString(line)
				}
				mu.Lock()
				heads = append(heads, head.String())
				mu.Unlock()
				req, err := http.ReadRequest(bufio.NewReader(strings.NewReader(head.String())))
				if err != nil {
					return
				}
				body := make([]byte, max(0, req.ContentLength))
				if _, err := io.ReadFull(r, body); err != nil {
					return
				}
				_, _ = io.WriteString(nc, answer(head.String(), string(body)))
			})
		}
	})
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	return l.Addr().String(), func() []string { mu.Lock(); defer mu.Unlock(); return heads }
}

func TestProxyOfTheEnvironmentIsAsked(t *testing.T) {
	clearProxies(t)
	const pass = "prox-Secret9"
	basic := base64.StdEncoding.EncodeToString([]byte("u:" + pass))
	for name, status := range map[string]string{"no": "no", "with the password": "no " + pass, "with the login": "no to Basic " + basic} {
		t.Run(name, func(t *testing.T) {
			proxy, seen := answering(t, func(string, string) string { return "HTTP/1.1 403 " + status + "\r\n\r\n" })
			t.Setenv("ALL_PROXY", "http://u:"+pass+"@"+proxy)
			c := oauth2.Config{TokenURL: "https://token.invalid/token", ClientID: "app", Secret: driver.NewSecret("s3cret")}
			source, err := c.ClientCredentials()
			require.NoError(t, err)
			_, err = source(t.Context())
			require.Error(t, err)
			require.Len(t, seen(), 1)
			assert.Contains(t, seen()[0], "CONNECT token.invalid:443 HTTP/1.1\r\n")
			assert.Contains(t, seen()[0], "Proxy-Authorization: Basic "+basic+"\r\n")
			require.ErrorContains(t, err, "a proxy refuses the connection")
			assert.Equal(t, driver.KindTemporary, driver.KindOf(err))
			assert.NotContains(t, err.Error(), pass)
			assert.NotContains(t, err.Error(), basic)
		})
	}
}

// A30: a server that is none of HTTP repeats what it was sent, and net/http
// quotes that.
func TestA30AnswerThatIsNotHTTP(t *testing.T) {
	clearProxies(t)
	const secret = `client-Secret "9\ü`
	for name, answer := range map[string]func(head, body string) string{
		"the form":        func(_, body string) string { return "you said " + body + "\r\n\r\n" },
		"the secret":      func(string, string) string { return "you said " + secret + "\r\n\r\n" },
		"a bad header":    func(string, string) string { return "HTTP/1.1 200 OK\r\n" + secret + "\r\n\r\n" },
		"a bad length":    func(string, string) string { return "HTTP/1.1 200 OK\r\nContent-Length: " + secret + "\r\n\r\n" },
		"a bad status":    func(string, string) string { return "HTTP/1.1 " + secret + "\r\n\r\n" },
		"the whole login": func(head, _ string) string { return "you said " + strings.ReplaceAll(head, "\r\n", " ") + "\r\n\r\n" },
	} {
		for _, inHeader := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, header %v", name, inHeader), func(t *testing.T) {
				addr, seen := answering(t, answer)
				c := oauth2.Config{TokenURL: "http://" + addr + "/token", ClientID: "app", Secret: driver.NewSecret(secret), SecretInHeader: inHeader}
				source, err := c.ClientCredentials()
				require.NoError(t, err)
				_, err = source(t.Context())
				require.Error(t, err)
				require.Len(t, seen(), 1)
				for _, text := range []string{err.Error(), fmt.Sprintf("%+v", err)} {
					for _, form := range []string{
						secret, "client-Secret", url.QueryEscape(secret), fmt.Sprintf("%q", secret),
						base64.StdEncoding.EncodeToString([]byte(secret)),
						base64.StdEncoding.EncodeToString([]byte("app:" + url.QueryEscape(secret))),
					} {
						assert.NotContains(t, text, form)
					}
				}
			})
		}
	}
}

func TestHeaderWithoutEnd(t *testing.T) {
	clearProxies(t)
	addr, _ := answering(t, func(string, string) string {
		return "HTTP/1.1 200 OK\r\n" + strings.Repeat("X: "+strings.Repeat("y", 1000)+"\r\n", 200)
	})
	source, err := oauth2.Config{TokenURL: "http://" + addr + "/token", ClientID: "app", Secret: driver.NewSecret("s3cret")}.ClientCredentials()
	require.NoError(t, err)
	_, err = source(t.Context())
	require.ErrorContains(t, err, "the header of the answer is too long")
	require.ErrorIs(t, err, driver.ErrLimit)
}
