package httpx

import (
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/internal/labtest"
)

// echo posts to the lab's Apache and wants its answer.
func echo(t *testing.T, base, path string, opts ...driver.Option) error {
	t.Helper()
	u, err := url.Parse(base)
	require.NoError(t, err)
	n := driver.NewNetwork()
	require.NoError(t, driver.Apply(opts, &n))
	c, err := New(&n, Options{Driver: "TEST", URL: u})
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close()) }()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+path, strings.NewReader("hello"))
	require.NoError(t, err)
	resp, err := c.Do(req)
	if err != nil {
		return err
	}
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, 200, resp.StatusCode)
	require.Equal(t, "hello", string(b))
	return nil
}

// Every kind of proxy, with TLS and a login behind it.
func TestProxiesLab(t *testing.T) {
	t.Parallel()
	lab := labtest.Find(t)
	host := func(key string) string {
		addr := lab.Addr(t, key)
		if u, err := url.Parse(addr); err == nil && u.Host != "" {
			return u.Host
		}
		return addr
	}
	login := driver.WithProxyLogin("proxy", "proxy-secret")
	for _, c := range []struct {
		name string
		opts []driver.Option
		ok   bool
	}{
		{"socks4", []driver.Option{driver.WithProxy(driver.ProxySOCKS4, host("LAB_SOCKS4"))}, true},
		{"socks4a", []driver.Option{driver.WithProxy(driver.ProxySOCKS4a, host("LAB_SOCKS4A"))}, true},
		{"socks5", []driver.Option{driver.WithProxy(driver.ProxySOCKS5, host("LAB_SOCKS5"))}, true},
		{"socks5 login", []driver.Option{driver.WithProxy(driver.ProxySOCKS5, host("LAB_SOCKS5_AUTH")), login}, true},
		{"socks5 without login", []driver.Option{driver.WithProxy(driver.ProxySOCKS5, host("LAB_SOCKS5_AUTH"))}, false},
		{"http", []driver.Option{driver.WithProxy(driver.ProxyHTTP, host("LAB_PROXY"))}, true},
		{"http basic", []driver.Option{driver.WithProxy(driver.ProxyHTTP, host("LAB_PROXY_AUTH")), login}, true},
		{"http basic wrong", []driver.Option{driver.WithProxy(driver.ProxyHTTP, host("LAB_PROXY_AUTH")), driver.WithProxyLogin("proxy", "wrong")}, false},
		{"http digest", []driver.Option{driver.WithProxy(driver.ProxyHTTP, host("LAB_PROXY_DIGEST")), login}, true},
		{"https basic", []driver.Option{driver.WithProxy(driver.ProxyHTTPS, host("LAB_PROXY_TLS")), login}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			opts := append(labOptions(t, lab), driver.WithLogin("alice", "alice-secret"), driver.WithMechanisms("NTLM", "BASIC"))
			for _, path := range []string{"/basic/echo", "/ntlm/echo"} {
				err := echo(t, lab.Addr(t, "LAB_HTTPS"), path, append(opts, c.opts...)...)
				if c.ok {
					require.NoError(t, err)
					continue
				}
				require.Error(t, err)
				assert.NotContains(t, err.Error(), "proxy-secret")
			}
		})
	}
}

// The certificates of the lab: expired, of another host, of an unknown
// authority.
func TestCertificatesLab(t *testing.T) {
	t.Parallel()
	lab := labtest.Find(t)
	u, err := url.Parse(lab.Addr(t, "LAB_HTTPS"))
	require.NoError(t, err)
	at := func(ip string) string { return "https://" + net.JoinHostPort(ip, u.Port()) }
	for _, c := range []struct {
		base, want string
		opts       []driver.Option
	}{
		{at("127.0.0.2"), "expired", labOptions(t, lab)},
		{at("127.0.0.3"), "wrong.example.net", labOptions(t, lab)},
		{at("127.0.0.1"), "unknown authority", nil},
		{at("127.0.0.1"), "", labOptions(t, lab)},
		{at("127.0.0.2"), "", []driver.Option{driver.WithInsecureSkipVerify()}},
	} {
		err := echo(t, c.base, "/open/echo", c.opts...)
		if c.want == "" {
			require.NoError(t, err, c.base)
			continue
		}
		require.ErrorContains(t, err, c.want)
		assert.Equal(t, driver.KindPolicy, driver.KindOf(err))
	}
}
