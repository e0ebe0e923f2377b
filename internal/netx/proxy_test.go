package netx

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
)

// listen serves each connection with handle until the test ends.
func listen(t *testing.T, handle func(c net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(10 * time.Second))
				handle(c)
			})
		}
	})
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	return l.Addr().String()
}

// through dials mail.example.com:25, unless target says otherwise, and reads
// the line that the server says first.
func through(t *testing.T, target string, opts ...driver.Option) (string, error) {
	t.Helper()
	n := driver.NewNetwork()
	n.Timeout = 5 * time.Second
	require.NoError(t, driver.Apply(opts, &n))
	if target == "" {
		target = "mail.example.com:25"
	}
	c, err := Dial(t.Context(), &n, "TEST", target, nil)
	if err != nil {
		return "", err
	}
	defer c.Close()
	line, err := c.ReadLine(100)
	return string(line), err
}

const greeting = "220 hello\r\n"

func TestA27NothingIsDialedForAHostThatIsNone(t *testing.T) {
	for _, host := range []string{
		"mail\r\nX: y", "mail\nX", "mail x", "mail\x00", "", "a/b", "user@mail", "[::1", strings.Repeat("a", 256), "mail:25", "mail\tx", "mail\u0085x", "mail\u2028x", "mail%0d%0a",
		"fe80::1%x HTTP/1.1\r\nProxy-Authorization: Basic aW5qZWN0ZWQ=\r\nY: z", "fe80::1%x\x00evil.example\x00", "fe80::1%x y", "fe80::1%x\n", "fe80::1%x/y", "fe80::1%é", "fe80::1%" + strings.Repeat("x", 256),
	} {
		for _, kind := range []driver.ProxyKind{driver.ProxyNone, driver.ProxySOCKS4, driver.ProxySOCKS4a, driver.ProxySOCKS5, driver.ProxyHTTP, driver.ProxyHTTPS} {
			n := driver.NewNetwork()
			n.Proxy = driver.Proxy{Kind: kind, Addr: "proxy.example.com:1080"}
			dialed := false
			n.Dial = func(context.Context, string, string) (net.Conn, error) { dialed = true; return nil, errors.New("no") }
			_, err := Dial(t.Context(), &n, "TEST", "["+host+"]:25", nil)
			assert.Error(t, err)
			assert.Equal(t, driver.KindConfig, driver.KindOf(err), "%q: %v", host, err)
			assert.False(t, dialed, "%q", host)
			assert.NotContains(t, err.Error(), "\n")
			// The proxy's own name is checked where it is set.
			if kind != driver.ProxyNone && !strings.HasPrefix(host, "mail:25") {
				assert.Error(t, driver.Apply([]driver.Option{driver.WithProxy(kind, host)}, &n), "%q", host)
			}
		}
	}
}

// A zone names an interface of this machine: to a proxy it means nothing, and
// SOCKS would leave it out.
func TestA27NoProxyIsAskedForAZone(t *testing.T) {
	for _, kind := range []driver.ProxyKind{driver.ProxySOCKS4, driver.ProxySOCKS4a, driver.ProxySOCKS5, driver.ProxyHTTP, driver.ProxyHTTPS, driver.ProxyNone} {
		n := driver.NewNetwork()
		n.Proxy = driver.Proxy{Kind: kind, Addr: "proxy.example.com:1080"}
		var dialed []string
		n.Dial = func(_ context.Context, _, addr string) (net.Conn, error) {
			dialed = append(dialed, addr)
			return nil, errors.New("no")
		}
		_, err := Dial(t.Context(), &n, "TEST", "[fe80::1%eth0.1_a-B]:25", nil)
		require.Error(t, err)
		if kind == driver.ProxyNone {
			assert.Equal(t, []string{"[fe80::1%eth0.1_a-B]:25"}, dialed, "without a proxy it is an address like others")
			continue
		}
		assert.Equal(t, driver.KindConfig, driver.KindOf(err), "%v", err)
		assert.Empty(t, dialed, "%v", kind)
	}
}

// A URL where a host should be is a common mistake, and may hold a password.
func TestA30ProxyURLIsRefusedUnseen(t *testing.T) {
	const secret = "hunter2-pw"
	for _, addr := range []string{
		"http://ann:" + secret + "@proxy.example:8080", "ann:" + secret + "@proxy.example:8080", "ann:" + secret + "@proxy.example",
		"socks5://" + secret, "http://proxy.example/" + secret, "[ann:" + secret + "@proxy.example]:1080",
	} {
		for _, kind := range []driver.ProxyKind{driver.ProxySOCKS4, driver.ProxySOCKS4a, driver.ProxySOCKS5, driver.ProxyHTTP, driver.ProxyHTTPS} {
			n := driver.NewNetwork()
			err := driver.Apply([]driver.Option{driver.WithProxy(kind, addr)}, &n)
			require.ErrorContains(t, err, "not by a URL", "%q", addr)
			assert.Equal(t, driver.KindConfig, driver.KindOf(err))
			assert.NotContains(t, err.Error(), secret)
			assert.NotContains(t, err.Error(), "ann")
		}
	}
}

func TestLoginsThatNoProxyTakes(t *testing.T) {
	n := driver.NewNetwork()
	assert.Error(t, driver.Apply([]driver.Option{driver.WithProxyLogin("u\r\nX: y", "p")}, &n))
	assert.Error(t, driver.Apply([]driver.Option{driver.WithProxyLogin("u", "p\n")}, &n))
	for _, c := range []struct {
		kind       driver.ProxyKind
		user, pass string
		text       string
	}{
		{driver.ProxySOCKS5, strings.Repeat("u", 256), "p", "255 bytes"},
		{driver.ProxySOCKS5, "u", strings.Repeat("p", 256), "255 bytes"},
		{driver.ProxyHTTP, "u", strings.Repeat("p", 2000), "1024 bytes"},
	} {
		_, err := through(t, "", driver.WithProxy(c.kind, "127.0.0.1:1"), driver.WithProxyLogin(c.user, c.pass))
		require.ErrorContains(t, err, c.text)
		assert.Equal(t, driver.KindConfig, driver.KindOf(err))
	}
	_, err := through(t, "", driver.WithProxy(driver.ProxyHTTP, "127.0.0.1:1"), driver.WithProxyLogin("a:b", "p"), driver.WithProxyMechanisms("Basic"))
	require.ErrorContains(t, err, "colon")
	_, err = through(t, "", driver.WithProxy(driver.ProxyHTTP, "127.0.0.1:1"), driver.WithProxyLogin("a", driver.SecretFromEnv("MAILDRIVER_TEST_UNSET")))
	require.ErrorContains(t, err, "MAILDRIVER_TEST_UNSET")
	assert.Equal(t, driver.KindConfig, driver.KindOf(err))
}

func TestA52PolicySeesEveryAddress(t *testing.T) {
	var asked []driver.DialTarget
	no := errors.New("not there")
	policy := func(answer error) driver.Option {
		asked = nil
		return driver.WithDialPolicy(func(_ context.Context, to driver.DialTarget) error {
			asked = append(asked, to)
			return answer
		})
	}
	server := listen(t, func(nc net.Conn) { _, _ = io.WriteString(nc, greeting); _, _ = io.Copy(io.Discard, nc) })
	at := netip.MustParseAddrPort(server)

	line, err := through(t, server, policy(nil))
	require.NoError(t, err)
	assert.Equal(t, "220 hello", line)
	assert.Equal(t, []driver.DialTarget{{Host: "127.0.0.1", Addr: at}}, asked)

	byName := net.JoinHostPort("localhost", fmt.Sprint(at.Port()))
	_, err = through(t, byName, policy(no))
	require.ErrorIs(t, err, no)
	assert.Equal(t, driver.KindPolicy, driver.KindOf(err))
	assert.Equal(t, "localhost", asked[0].Host)
	assert.True(t, asked[0].Addr.Addr().IsLoopback(), "what the name resolved to")

	_, err = through(t, server, driver.WithDialPolicy(driver.PublicAddressesOnly))
	require.ErrorIs(t, err, driver.ErrNotPublic)

	// The host's own dialer tells where it went.
	_, err = through(t, "mail.example.com:25", policy(no), driver.WithDialer(func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, server)
	}))
	require.ErrorIs(t, err, no)
	assert.Equal(t, []driver.DialTarget{{Host: "mail.example.com", Addr: at}}, asked)
	ours, theirs := net.Pipe()
	defer theirs.Close()
	_, err = through(t, "", policy(nil), driver.WithDialer(func(context.Context, string, string) (net.Conn, error) { return ours, nil }))
	require.ErrorContains(t, err, "does not tell the address")

	// Behind a proxy the name is all that is known.
	proxy := listen(t, func(nc net.Conn) {
		play(t, nc, []string{"\x05\x01\x00", "\x05\x00", "\x05\x01\x00\x03\x10mail.example.com\x00\x19", "\x05\x00\x00\x01\x7f\x00\x00\x01\x04\x00" + greeting})
	})
	_, err = through(t, "", policy(nil), driver.WithProxy(driver.ProxySOCKS5, proxy))
	require.NoError(t, err)
	assert.Equal(t, []driver.DialTarget{{Host: "mail.example.com"}, {Host: "127.0.0.1", Addr: netip.MustParseAddrPort(proxy), Proxy: true}}, asked)
	_, err = through(t, "", driver.WithDialPolicy(driver.PublicAddressesOnly), driver.WithProxy(driver.ProxySOCKS5, "127.0.0.1:1"))
	require.ErrorIs(t, err, driver.ErrNotPublic)
	_, err = through(t, "169.254.169.254:25", driver.WithDialPolicy(driver.PublicAddressesOnly), driver.WithProxy(driver.ProxySOCKS5, "127.0.0.1:1"))
	require.ErrorIs(t, err, driver.ErrNotPublic, "nor is an address hidden by a proxy")
}

// FuzzProxyAnswers: whatever a proxy says, there is an end, and nothing but the
// dialogue reaches it.
func FuzzProxyAnswers(f *testing.F) {
	for _, c := range socksCases() {
		var said strings.Builder
		for i := 1; i < len(c.turns); i += 2 {
			said.WriteString(c.turns[i])
		}
		f.Add(uint8(c.kind), []byte(said.String()))
	}
	for _, c := range connectCases() {
		var said strings.Builder
		for i := 1; i < len(c.turns); i += 2 {
			said.WriteString(c.turns[i])
		}
		f.Add(uint8(driver.ProxyHTTP), []byte(said.String()[:min(said.Len(), 4096)]))
	}
	f.Fuzz(func(t *testing.T, kind uint8, said []byte) {
		k := driver.ProxySOCKS4 + driver.ProxyKind(kind)%4
		n := driver.NewNetwork()
		n.Timeout = 5 * time.Second
		n.Proxy = driver.Proxy{Kind: k, Addr: "proxy.example.com:1", User: "ann", Password: driver.NewSecret("s3cret-pw"), Mechanisms: []string{"Digest", "NTLM", "Basic"}}
		n.Dial = func(context.Context, string, string) (net.Conn, error) {
			return &parrot{says: said}, nil
		}
		c, err := Dial(t.Context(), &n, "TEST", "192.0.2.1:25", nil)
		if err == nil {
			_ = c.Close()
			return
		}
		if strings.Contains(err.Error(), "s3cret-pw") || len(err.Error()) > 4000 {
			t.Fatalf("%v", err)
		}
		if de, ok := errors.AsType[*driver.Error](err); !ok || de.Op != "proxy" || de.Kind == driver.KindUnknown {
			t.Fatalf("%v", err)
		}
	})
}

// A parrot says what it has to say, whatever it hears.
type parrot struct {
	says []byte
	net.Conn
}

func (p *parrot) Read(b []byte) (int, error) {
	if len(p.says) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.says)
	p.says = p.says[n:]
	return n, nil
}
func (p *parrot) Write(b []byte) (int, error)     { return len(b), nil }
func (p *parrot) Close() error                    { return nil }
func (p *parrot) SetDeadline(time.Time) error     { return nil }
func (p *parrot) SetReadDeadline(time.Time) error { return nil }
func (p *parrot) LocalAddr() net.Addr             { return nil }
func (p *parrot) RemoteAddr() net.Addr            { return nil }

// TestMuteAtEachStep: a proxy that falls silent in the middle ends with the
// budget, and the error names the step.
func TestMuteAtEachStep(t *testing.T) {
	t.Parallel()
	for _, c := range socksCases() {
		if c.step != "" || strings.Contains(c.name, "longest") {
			continue
		}
		for said := 0; said < len(c.turns); said += 2 {
			t.Run(fmt.Sprintf("%s, after %d words", c.name, said/2), func(t *testing.T) {
				t.Parallel()
				proxy := listen(t, func(nc net.Conn) {
					for i := 0; i < said; i += 2 {
						_, _ = io.ReadFull(nc, make([]byte, len(c.turns[i])))
						_, _ = io.WriteString(nc, c.turns[i+1])
					}
					_, _ = io.Copy(io.Discard, nc)
				})
				opts := []driver.Option{driver.WithTimeout(200 * time.Millisecond), driver.WithProxy(c.kind, proxy)}
				if c.user != "" {
					opts = append(opts, driver.WithProxyLogin(c.user, c.pass))
				}
				begin := time.Now()
				_, err := through(t, c.target, opts...)
				assert.Less(t, time.Since(begin), 5*time.Second)
				pe, ok := errors.AsType[*driver.ProxyError](err)
				require.True(t, ok, "%v", err)
				assert.NotEmpty(t, pe.Step)
				assert.Equal(t, driver.KindTemporary, driver.KindOf(err))
				var ne net.Error
				require.ErrorAs(t, err, &ne)
				assert.True(t, ne.Timeout())
			})
		}
	}
	for _, turns := range [][]string{{}, {"\r\n\r\n", "HTTP/1.1 407 No\r\nContent-Length: 0\r\nProxy-Authenticate: Basic realm=x\r\n\r\n"}, {"\r\n\r\n", "HTTP/1.1 407 No\r\nContent-Length: 10\r\nProxy-Authenticate: Basic realm=x\r\n\r\nhalf"}, {"\r\n\r\n", "HTTP/1.1 200 OK\r\nX: y\r\n"}} {
		addr, _ := connectProxy(t, append(turns, "\r\n\r\n", "HTTP/1.1 1"))
		_, err := through(t, "", driver.WithTimeout(200*time.Millisecond), driver.WithProxy(driver.ProxyHTTP, addr), driver.WithProxyLogin("u", "p"))
		pe, ok := errors.AsType[*driver.ProxyError](err)
		require.True(t, ok, "%v", err)
		assert.Contains(t, []string{"request", "login"}, pe.Step)
	}
}

func TestCancelWithinAProxy(t *testing.T) {
	why := errors.New("enough")
	for _, kind := range []driver.ProxyKind{driver.ProxySOCKS4a, driver.ProxySOCKS5, driver.ProxyHTTP, driver.ProxyHTTPS} {
		heard := make(chan struct{}, 1)
		proxy := listen(t, func(nc net.Conn) {
			_, _ = nc.Read(make([]byte, 1))
			heard <- struct{}{}
			_, _ = io.Copy(io.Discard, nc)
		})
		n := driver.NewNetwork()
		require.NoError(t, driver.Apply([]driver.Option{driver.WithProxy(kind, proxy)}, &n))
		ctx, cancel := context.WithCancelCause(t.Context())
		go func() { <-heard; cancel(why) }()
		_, err := Dial(ctx, &n, "TEST", "mail.example.com:25", nil)
		require.ErrorIs(t, err, why, "%v", kind)
		assert.Equal(t, driver.KindTemporary, driver.KindOf(err))
	}
}

// TestOneBudget: the look-up and connection, the proxy's words and the greeting
// come out of one budget, however it is spent.
func TestOneBudget(t *testing.T) {
	for _, kind := range []driver.ProxyKind{driver.ProxySOCKS4a, driver.ProxySOCKS5, driver.ProxyHTTP} {
		synctest.Test(t, func(t *testing.T) {
			ours, theirs := net.Pipe()
			n := driver.NewNetwork()
			n.Timeout = 10 * time.Second
			n.Proxy = driver.Proxy{Kind: kind, Addr: "proxy.example.com:1080"}
			n.Dial = func(context.Context, string, string) (net.Conn, error) {
				time.Sleep(3 * time.Second) // the bubble's clock
				return ours, nil
			}
			done := make(chan struct{})
			go func() {
				defer close(done)
				answers := map[driver.ProxyKind][]string{
					driver.ProxySOCKS4a: {"\x00\x5a\x00\x00\x00\x00\x00\x00"},
					driver.ProxySOCKS5:  {"\x05\x00", "\x05\x00\x00\x01\x7f\x00\x00\x01\x04\x00"},
					driver.ProxyHTTP:    {"HTTP/1.1 200 OK\r\n\r\n"},
				}[kind]
				buf := make([]byte, 1000)
				for _, a := range answers {
					_, _ = theirs.Read(buf)
					time.Sleep(2 * time.Second)
					_, _ = io.WriteString(theirs, a)
				}
			}()
			begin := time.Now()
			c, err := Dial(t.Context(), &n, "TEST", "mail.example.com:25", nil)
			require.NoError(t, err)
			assert.GreaterOrEqual(t, time.Since(begin), 5*time.Second)
			_, err = c.ReadLine(100)
			require.Error(t, err)
			assert.Equal(t, 10*time.Second, time.Since(begin))
			assert.Equal(t, driver.KindTemporary, driver.KindOf(err))
			_ = c.Close()
			<-done
			_ = theirs.Close()
		})
	}
	synctest.Test(t, func(t *testing.T) { // and a limit on connecting within it
		n := driver.NewNetwork()
		n.Timeout, n.ConnectTimeout = time.Minute, 10*time.Second
		n.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		begin := time.Now()
		_, err := Dial(t.Context(), &n, "TEST", "mail.example.com:25", nil)
		require.EqualError(t, err, "TEST mail.example.com:25 dial: no answer within 10s")
		assert.Equal(t, 10*time.Second, time.Since(begin))
	})
}
