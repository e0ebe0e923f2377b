package nettest

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/internal/labtest"
)

// proxyUser is the user of this package's mailboxes in the lab.
const proxyUser = "u49"

// account is how each protocol logs in at the lab, in clear on loopback.
func account(p protocol) []driver.Option {
	if p.name != "POP3" && p.name != "IMAP" {
		return nil // port 25 takes mail for its own domain from anybody
	}
	return []driver.Option{driver.WithLogin(proxyUser, labtest.Password(proxyUser)), driver.WithInsecureAuth()}
}

// server gives a server's address by name, so that somebody must resolve it.
func server(t *testing.T, lab *labtest.Lab, p protocol) string {
	switch p.name {
	case "HTTP", "HTTPS":
		return lab.Addr(t, "LAB_"+p.name) // by name already
	case "WEBDAV":
		return lab.Addr(t, "LAB_HTTP")
	case "EWS":
		return "" // makes its own
	}
	_, port, err := net.SplitHostPort(lab.Addr(t, "LAB_"+p.name))
	require.NoError(t, err)
	return net.JoinHostPort("localhost", port)
}

func labRoots(t *testing.T, lab *labtest.Lab) driver.Option {
	pool, err := driver.LoadRootCAs(lab.Addr(t, "LAB_CA"))
	require.NoError(t, err)
	return driver.WithRootCAs(pool)
}

// TestLabProxies is the matrix: every kind of proxy, every protocol, with,
// without and with wrong credentials, against proxies that others wrote.
func TestLabProxies(t *testing.T) {
	lab := labtest.Find(t)
	lab.Mailbox(t, proxyUser) // for us alone
	bare := func(url string) string {
		return strings.TrimPrefix(strings.TrimPrefix(lab.Addr(t, url), "http://"), "https://")
	}
	right := driver.WithProxyLogin("proxy", "proxy-secret")
	wrong := driver.WithProxyLogin("proxy", "wrong-secret")
	rows := []struct {
		name, software string
		opts           []driver.Option
		want           driver.Kind // KindUnknown: gets through
		step           string
		code           int
	}{
		{"none", "", []driver.Option{driver.WithProxy(driver.ProxyNone, "")}, 0, "", 0},
		{"system", "environment", []driver.Option{driver.WithProxy(driver.ProxySystem, "")}, 0, "", 0},
		{"socks4", "dante", []driver.Option{driver.WithProxy(driver.ProxySOCKS4, lab.Addr(t, "LAB_SOCKS4"))}, 0, "", 0},
		{"socks4", "ssh -D", []driver.Option{driver.WithProxy(driver.ProxySOCKS4, lab.Addr(t, "LAB_SOCKS4A"))}, 0, "", 0},
		{"socks4a", "ssh -D", []driver.Option{driver.WithProxy(driver.ProxySOCKS4a, lab.Addr(t, "LAB_SOCKS4A"))}, 0, "", 0},
		{"socks5", "microsocks", []driver.Option{driver.WithProxy(driver.ProxySOCKS5, lab.Addr(t, "LAB_SOCKS5"))}, 0, "", 0},
		{"socks5", "dante", []driver.Option{driver.WithProxy(driver.ProxySOCKS5, lab.Addr(t, "LAB_SOCKS4"))}, 0, "", 0},
		{"socks5", "ssh -D", []driver.Option{driver.WithProxy(driver.ProxySOCKS5, lab.Addr(t, "LAB_SOCKS4A"))}, 0, "", 0},
		{"socks5 login", "microsocks", []driver.Option{driver.WithProxy(driver.ProxySOCKS5, lab.Addr(t, "LAB_SOCKS5_AUTH")), right}, 0, "", 0},
		{"socks5 wrong login", "microsocks", []driver.Option{driver.WithProxy(driver.ProxySOCKS5, lab.Addr(t, "LAB_SOCKS5_AUTH")), wrong}, driver.KindAuth, "login", 0},
		{"socks5 no login", "microsocks", []driver.Option{driver.WithProxy(driver.ProxySOCKS5, lab.Addr(t, "LAB_SOCKS5_AUTH"))}, driver.KindAuth, "login", 0},
		{"http", "tinyproxy", []driver.Option{driver.WithProxy(driver.ProxyHTTP, bare("LAB_PROXY"))}, 0, "", 0},
		{"http Basic", "tinyproxy", []driver.Option{driver.WithProxy(driver.ProxyHTTP, bare("LAB_PROXY_AUTH")), right}, 0, "", 0},
		{"http Basic by name", "tinyproxy", []driver.Option{driver.WithProxy(driver.ProxyHTTP, bare("LAB_PROXY_AUTH")), right, driver.WithProxyMechanisms("basic")}, 0, "", 0},
		{"http Basic wrong", "tinyproxy", []driver.Option{driver.WithProxy(driver.ProxyHTTP, bare("LAB_PROXY_AUTH")), wrong}, driver.KindAuth, "login", 401},
		{"http no login", "tinyproxy", []driver.Option{driver.WithProxy(driver.ProxyHTTP, bare("LAB_PROXY_AUTH"))}, driver.KindAuth, "login", 407},
		{"http Digest", "Apache", []driver.Option{driver.WithProxy(driver.ProxyHTTP, bare("LAB_PROXY_DIGEST")), right}, 0, "", 0},
		{"http Digest wrong", "Apache", []driver.Option{driver.WithProxy(driver.ProxyHTTP, bare("LAB_PROXY_DIGEST")), wrong}, driver.KindAuth, "login", 407},
		{"http Digest, Basic asked", "Apache", []driver.Option{driver.WithProxy(driver.ProxyHTTP, bare("LAB_PROXY_DIGEST")), right, driver.WithProxyMechanisms("Basic")}, driver.KindAuth, "login", 407},
		{"https Basic", "Apache", []driver.Option{driver.WithProxy(driver.ProxyHTTPS, bare("LAB_PROXY_TLS")), right, labRoots(t, lab)}, 0, "", 0},
		{"https Basic wrong", "Apache", []driver.Option{driver.WithProxy(driver.ProxyHTTPS, bare("LAB_PROXY_TLS")), wrong, labRoots(t, lab)}, driver.KindAuth, "login", 407},
		{"https no login", "Apache", []driver.Option{driver.WithProxy(driver.ProxyHTTPS, bare("LAB_PROXY_TLS")), labRoots(t, lab)}, driver.KindAuth, "login", 407},
		{"https unknown CA", "Apache", []driver.Option{driver.WithProxy(driver.ProxyHTTPS, bare("LAB_PROXY_TLS")), right}, driver.KindPolicy, "tls", 0},
		{"https unknown CA, ignored", "Apache", []driver.Option{driver.WithProxy(driver.ProxyHTTPS, bare("LAB_PROXY_TLS")), right, driver.WithInsecureSkipVerify()}, driver.KindPolicy, "tls", 0},
	}
	out := &table{t: t, title: "proxies of the lab"}
	defer out.print()
	out.add("proxy", "software", "SMTP", "POP3", "IMAP", "HTTP", "HTTPS", "EWS", "WEBDAV")
	list := slices.Concat(protocols, overHTTP)
	for _, r := range rows {
		cells := []string{r.name, r.software}
		for i, err := range each(list, func(p protocol) error {
			opts := append(account(p), driver.WithTimeout(soon))
			if p.name == "HTTPS" && !strings.Contains(r.name, "unknown CA") {
				opts = append(opts, labRoots(t, lab))
			}
			return p.run(t, server(t, lab, p), append(opts, r.opts...)...)
		}) {
			p := list[i]
			cells = append(cells, verdict(err))
			name := r.name + ", " + r.software + ", " + p.name
			if r.step == "" {
				assert.NoError(t, err, name)
				continue
			}
			pe, ok := errors.AsType[*driver.ProxyError](err)
			if !assert.True(t, ok, "%s: %v", name, err) {
				continue
			}
			assert.Equal(t, r.want, driver.KindOf(err), name)
			assert.Equal(t, r.step, pe.Step, name)
			if r.code != 0 {
				assert.Equal(t, r.code, pe.Code, name)
			}
			assert.NotContains(t, err.Error(), "-secret", name)
		}
		out.add(cells...)
	}
}

// TestLabProxiesToNowhere: the proxy cannot reach the server, and says so.
func TestLabProxiesToNowhere(t *testing.T) {
	lab := labtest.Find(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	closed := l.Addr().String()
	require.NoError(t, l.Close())
	for name, opt := range map[string]driver.Option{
		"socks4": driver.WithProxy(driver.ProxySOCKS4, lab.Addr(t, "LAB_SOCKS4")),
		"socks5": driver.WithProxy(driver.ProxySOCKS5, lab.Addr(t, "LAB_SOCKS5")),
		"http":   driver.WithProxy(driver.ProxyHTTP, strings.TrimPrefix(lab.Addr(t, "LAB_PROXY"), "http://")),
	} {
		for _, p := range protocols {
			err := p.run(t, closed, append(account(p), driver.WithTimeout(soon), opt)...)
			pe, ok := errors.AsType[*driver.ProxyError](err)
			require.True(t, ok, "%s, %s: %v", name, p.name, err)
			assert.Equal(t, "request", pe.Step, "%s, %s: %v", name, p.name, err)
			assert.Equal(t, driver.KindTemporary, driver.KindOf(err), "F01: %s, %s: %v", name, p.name, err)
		}
	}
}

// TestMuteProxies: whatever kind of proxy says nothing, the one budget of the
// set-up ends the wait. The proxy is in memory and the clock is the test's own,
// so that the wait is exact and its place does not depend on the machine's load.
func TestMuteProxies(t *testing.T) {
	const budget = 150 * time.Millisecond
	steps := map[driver.ProxyKind]string{
		driver.ProxySOCKS4: "request", driver.ProxySOCKS4a: "request", driver.ProxySOCKS5: "greeting", driver.ProxyHTTP: "request", driver.ProxyHTTPS: "tls",
	}
	for kind, step := range steps {
		for _, p := range protocols {
			t.Run(kind.String()+"/"+p.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var dialed []string
					mute := driver.WithDialer(func(_ context.Context, _, addr string) (net.Conn, error) {
						ours, theirs := net.Pipe()
						dialed = append(dialed, addr)
						go func() {
							_, _ = io.Copy(io.Discard, theirs) // it listens well
							_ = theirs.Close()
						}()
						return ours, nil
					})
					begin := time.Now()
					err := p.run(t, "127.0.0.1:25", append(account(p), driver.WithTimeout(budget), mute, driver.WithProxy(kind, "proxy.example:1080"))...)
					assert.Equal(t, budget, time.Since(begin))
					assert.Equal(t, []string{"proxy.example:1080"}, dialed)
					pe, ok := errors.AsType[*driver.ProxyError](err)
					require.True(t, ok, "%v", err)
					assert.Equal(t, step, pe.Step)
					assert.ErrorContains(t, err, "no answer within")
					assert.Equal(t, driver.KindTemporary, driver.KindOf(err))
				})
			})
		}
	}
}
