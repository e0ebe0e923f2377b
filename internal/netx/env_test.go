package netx

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
)

func TestSystemProxy(t *testing.T) {
	clear := func(t *testing.T) {
		for _, name := range []string{"ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "REQUEST_METHOD"} {
			t.Setenv(name, "")
			t.Setenv(strings.ToLower(name), "")
		}
	}
	for _, c := range []struct {
		name     string
		protocol string
		target   string
		secure   driver.Security
		env      map[string]string
		kind     driver.ProxyKind
		addr     string
		text     string // of the error
	}{
		{name: "nothing set", kind: driver.ProxyNone},
		{name: "ALL_PROXY first for mail", env: map[string]string{"ALL_PROXY": "socks5://one.example", "HTTPS_PROXY": "http://two.example"}, kind: driver.ProxySOCKS5, addr: "one.example:1080"},
		{name: "HTTPS_PROXY else", env: map[string]string{"https_proxy": "http://two.example"}, kind: driver.ProxyHTTP, addr: "two.example:80"},
		{name: "HTTP_PROXY is not for mail", env: map[string]string{"HTTP_PROXY": "http://two.example"}, kind: driver.ProxyNone},
		{name: "https", protocol: "EWS", secure: driver.SecurityImplicit, env: map[string]string{"ALL_PROXY": "socks5://one.example", "HTTPS_PROXY": "https://two.example"}, kind: driver.ProxyHTTPS, addr: "two.example:443"},
		{name: "http", protocol: "WEBDAV", env: map[string]string{"HTTP_PROXY": "two.example:3128"}, kind: driver.ProxyHTTP, addr: "two.example:3128"},
		{name: "http in CGI", protocol: "WEBDAV", env: map[string]string{"HTTP_PROXY": "two.example:3128", "REQUEST_METHOD": "GET"}, kind: driver.ProxyNone},
		{name: "socks4a", env: map[string]string{"all_proxy": "SOCKS4a://one.example:9/"}, kind: driver.ProxySOCKS4a, addr: "one.example:9"},
		{name: "NO_PROXY", env: map[string]string{"ALL_PROXY": "socks5://one.example", "NO_PROXY": "other.example,.example.com"}, kind: driver.ProxyNone},
		{name: "NO_PROXY of networks", target: "10.1.2.3", env: map[string]string{"ALL_PROXY": "socks5://one.example", "no_proxy": "10.0.0.0/8"}, kind: driver.ProxyNone},
		{name: "NO_PROXY of others", env: map[string]string{"ALL_PROXY": "socks5://one.example", "NO_PROXY": "example.org"}, kind: driver.ProxySOCKS5, addr: "one.example:1080"},
		{name: "this machine", target: "127.0.0.1", env: map[string]string{"ALL_PROXY": "socks5://one.example"}, kind: driver.ProxyNone},
		{name: "fail closed: scheme", env: map[string]string{"ALL_PROXY": "ftp://one.example"}, text: "ALL_PROXY: the URL is not of"},
		{name: "fail closed: no URL", env: map[string]string{"ALL_PROXY": "http://u:topsecret@one.example:port"}, text: "ALL_PROXY: the value is not a URL"},
		{name: "fail closed: a path", env: map[string]string{"HTTPS_PROXY": "http://one.example/proxy.pac"}, text: "HTTPS_PROXY: the URL has more than a host"},
		{name: "fail closed: no host", env: map[string]string{"HTTPS_PROXY": "http://"}, text: "HTTPS_PROXY: the URL names no host"},
		{name: "a bad one does not matter if it is not used", env: map[string]string{"ALL_PROXY": "ftp://one.example", "NO_PROXY": "*"}, kind: driver.ProxyNone},
	} {
		t.Run(c.name, func(t *testing.T) {
			clear(t)
			for k, v := range c.env {
				t.Setenv(k, v)
			}
			n := driver.NewNetwork()
			n.Security = c.secure
			target := c.target
			if target == "" {
				target = "mail.example.com"
			}
			h := &hop{n: &n, host: target, port: "25"}
			err := h.choose(c.protocol)
			if c.text != "" {
				require.ErrorContains(t, err, c.text)
				assert.NotContains(t, err.Error(), "topsecret")
				_, err = through(t, "", driver.WithTimeout(time.Second))
				assert.Equal(t, driver.KindConfig, driver.KindOf(err), "and nothing is connected to")
				return
			}
			require.NoError(t, err)
			assert.Equal(t, c.kind, h.kind)
			assert.Equal(t, c.addr, h.addr)
		})
	}
	t.Run("login of the URL", func(t *testing.T) {
		clear(t)
		proxy := listen(t, func(nc net.Conn) {
			play(t, nc, []string{"\x05\x02\x00\x02", "\x05\x02", "\x01\x01u\x03p w", "\x01\x00", "\x05\x01\x00\x03\x10mail.example.com\x00\x19", "\x05\x00\x00\x01\x7f\x00\x00\x01\x04\x00" + greeting})
		})
		t.Setenv("ALL_PROXY", "socks5h://u:p%20w@"+proxy)
		line, err := through(t, "")
		require.NoError(t, err)
		assert.Equal(t, "220 hello", line)
	})
	t.Run("a user of the URL does not get another's password", func(t *testing.T) {
		clear(t)
		t.Setenv("ALL_PROXY", "http://bob@p.example")
		n := driver.NewNetwork()
		require.NoError(t, driver.Apply([]driver.Option{driver.WithProxyLogin("ann", "pw")}, &n))
		h := &hop{n: &n, host: "mail.example.com", port: "25"}
		require.NoError(t, h.choose("SMTP"))
		assert.Equal(t, "bob", h.user)
		assert.True(t, h.secret.IsZero())
		t.Setenv("ALL_PROXY", "http://p.example")
		require.NoError(t, h.choose("SMTP"))
		assert.Equal(t, "ann", h.user)
		assert.Equal(t, "pw", h.secret.Reveal())
	})
	t.Run("a host's own network", func(t *testing.T) {
		clear(t)
		t.Setenv("ALL_PROXY", "socks5://one.example")
		to := ""
		dial := driver.WithDialer(func(_ context.Context, _, addr string) (net.Conn, error) { to = addr; return nil, errors.New("no") })
		_, err := through(t, "", dial)
		require.Error(t, err)
		assert.Equal(t, "mail.example.com:25", to)
		_, err = through(t, "", dial, driver.WithProxy(driver.ProxySystem, ""))
		require.Error(t, err)
		assert.Equal(t, "one.example:1080", to, "unless it asks for it")
	})
}
