package netx

import (
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
)

// socksCase is what a SOCKS proxy hears and says, turn by turn.
type socksCase struct {
	name   string
	kind   driver.ProxyKind
	target string
	user   string
	pass   string
	turns  []string // heard, said, heard, said...
	want   driver.Kind
	step   string
	text   string
}

func socksCases() []socksCase {
	const name = "\x10mail.example.com"
	long := strings.Repeat("a.", 100) + "example"
	return []socksCase{
		{name: "socks5 name", kind: driver.ProxySOCKS5, turns: []string{"\x05\x01\x00", "\x05\x00", "\x05\x01\x00\x03" + name + "\x00\x19", "\x05\x00\x00\x01\x7f\x00\x00\x01\x04\x00" + greeting}},
		{name: "socks5 address", kind: driver.ProxySOCKS5, target: "192.0.2.1:25", turns: []string{"\x05\x01\x00", "\x05\x00", "\x05\x01\x00\x01\xc0\x00\x02\x01\x00\x19", "\x05\x00\x00\x01\x7f\x00\x00\x01\x04\x00" + greeting}},
		{name: "socks5 IPv6, bound to a name", kind: driver.ProxySOCKS5, target: "[2001:db8::1]:993", turns: []string{"\x05\x01\x00", "\x05\x00", "\x05\x01\x00\x04\x20\x01\x0d\xb8" + strings.Repeat("\x00", 11) + "\x01\x03\xe1", "\x05\x00\x00\x03\x02ab\x04\x00" + greeting}},
		{name: "socks5 longest name", kind: driver.ProxySOCKS5, target: long + ":25", turns: []string{"\x05\x01\x00", "\x05\x00", "\x05\x01\x00\x03\xcf" + long + "\x00\x19", "\x05\x00\x00\x04" + strings.Repeat("\x00", 18) + greeting}},
		{name: "socks5 login", kind: driver.ProxySOCKS5, user: "u", pass: "pw", turns: []string{"\x05\x02\x00\x02", "\x05\x02", "\x01\x01u\x02pw", "\x01\x00", "\x05\x01\x00\x03" + name + "\x00\x19", "\x05\x00\x00\x01\x7f\x00\x00\x01\x04\x00" + greeting}},
		{name: "socks5 login not wanted", kind: driver.ProxySOCKS5, user: "u", pass: "pw", turns: []string{"\x05\x02\x00\x02", "\x05\x00", "\x05\x01\x00\x03" + name + "\x00\x19", "\x05\x00\x00\x01\x7f\x00\x00\x01\x04\x00" + greeting}},
		{name: "socks5 login refused", kind: driver.ProxySOCKS5, user: "u", pass: "pw", turns: []string{"\x05\x02\x00\x02", "\x05\x02", "\x01\x01u\x02pw", "\x01\x01"}, want: driver.KindAuth, step: "login", text: "refuses the user name or password"},
		{name: "socks5 login wanted", kind: driver.ProxySOCKS5, turns: []string{"\x05\x01\x00", "\x05\xff"}, want: driver.KindAuth, step: "login", text: "driver.WithProxyLogin"},
		{name: "A29 no method fits", kind: driver.ProxySOCKS5, user: "u", pass: "pw", turns: []string{"\x05\x02\x00\x02", "\x05\xff"}, want: driver.KindAuth, step: "login", text: "takes no login with user name"},
		{name: "A29 login demanded unasked", kind: driver.ProxySOCKS5, turns: []string{"\x05\x01\x00", "\x05\x02"}, want: driver.KindProtocol, step: "login", text: "not offered"},
		{name: "A29 GSSAPI demanded", kind: driver.ProxySOCKS5, user: "u", pass: "pw", turns: []string{"\x05\x02\x00\x02", "\x05\x01"}, want: driver.KindProtocol, step: "login", text: "not offered"},
		{name: "A29 login answered in another version", kind: driver.ProxySOCKS5, user: "u", pass: "pw", turns: []string{"\x05\x02\x00\x02", "\x05\x02", "\x01\x01u\x02pw", "\x05\x00"}, want: driver.KindProtocol, step: "login", text: "version 5"},
		{name: "A29 not SOCKS5", kind: driver.ProxySOCKS5, turns: []string{"\x05\x01\x00", "HTTP/1.1 400 Bad Request\r\n\r\n"}, want: driver.KindProtocol, step: "greeting", text: "does not speak SOCKS5"},
		{name: "A29 address of unknown type", kind: driver.ProxySOCKS5, turns: []string{"\x05\x01\x00", "\x05\x00", "\x05\x01\x00\x03" + name + "\x00\x19", "\x05\x00\x00\x02\x7f"}, want: driver.KindProtocol, step: "request", text: "unknown type 2"},
		{name: "A29 reply cut", kind: driver.ProxySOCKS5, turns: []string{"\x05\x01\x00", "\x05\x00", "\x05\x01\x00\x03" + name + "\x00\x19", "\x05\x00\x00\x03\xffshort"}, want: driver.KindTemporary, step: "request", text: "closed the connection"},
		{name: "socks5 rules", kind: driver.ProxySOCKS5, turns: []string{"\x05\x01\x00", "\x05\x00", "\x05\x01\x00\x03" + name + "\x00\x19", "\x05\x02\x00\x01"}, want: driver.KindTemporary, step: "request", text: "rules forbid"},
		{name: "socks5 unknown code", kind: driver.ProxySOCKS5, turns: []string{"\x05\x01\x00", "\x05\x00", "\x05\x01\x00\x03" + name + "\x00\x19", "\x05\x63\x00\x01"}, want: driver.KindTemporary, step: "request", text: "code 99"},
		{name: "socks4 address", kind: driver.ProxySOCKS4, target: "192.0.2.1:25", user: "joe", turns: []string{"\x04\x01\x00\x19\xc0\x00\x02\x01joe\x00", "\x00\x5a\x00\x00\x00\x00\x00\x00" + greeting}},
		{name: "socks4a name", kind: driver.ProxySOCKS4a, user: "joe", turns: []string{"\x04\x01\x00\x19\x00\x00\x00\x01joe\x00mail.example.com\x00", "\x00\x5a\x00\x00\x00\x00\x00\x00" + greeting}},
		{name: "socks4a address", kind: driver.ProxySOCKS4a, target: "192.0.2.1:25", turns: []string{"\x04\x01\x00\x19\xc0\x00\x02\x01\x00", "\x00\x5a\x00\x00\x00\x00\x00\x00" + greeting}},
		{name: "socks4 refused", kind: driver.ProxySOCKS4, target: "192.0.2.1:25", turns: []string{"\x04\x01\x00\x19\xc0\x00\x02\x01\x00", "\x00\x5b\x00\x00\x00\x00\x00\x00"}, want: driver.KindTemporary, step: "request", text: "refuses the connection"},
		{name: "socks4 user refused", kind: driver.ProxySOCKS4, target: "192.0.2.1:25", turns: []string{"\x04\x01\x00\x19\xc0\x00\x02\x01\x00", "\x00\x5d\x00\x00\x00\x00\x00\x00"}, want: driver.KindAuth, step: "login", text: "user id"},
		{name: "A29 socks4 of another version", kind: driver.ProxySOCKS4, target: "192.0.2.1:25", turns: []string{"\x04\x01\x00\x19\xc0\x00\x02\x01\x00", "\x04\x5a\x00\x00\x00\x00\x00\x00"}, want: driver.KindProtocol, step: "request", text: "does not speak SOCKS4"},
		{name: "A29 socks4 unknown code", kind: driver.ProxySOCKS4, target: "192.0.2.1:25", turns: []string{"\x04\x01\x00\x19\xc0\x00\x02\x01\x00", "\x00\x00\x00\x00\x00\x00\x00\x00"}, want: driver.KindProtocol, step: "request", text: "unknown code 0"},
		{name: "socks4 IPv6", kind: driver.ProxySOCKS4, target: "[2001:db8::1]:25", want: driver.KindConfig, step: "request", text: "IPv4"},
	}
}

// play plays the proxy's part. It fails the test if we say anything else than
// we should, and sees that we say nothing more.
func play(t *testing.T, c net.Conn, turns []string) {
	for i := 0; i+1 < len(turns); i += 2 {
		heard := make([]byte, len(turns[i]))
		if _, err := io.ReadFull(c, heard); !assert.NoError(t, err) {
			return
		}
		assert.Equal(t, []byte(turns[i]), heard)
		if _, err := io.WriteString(c, turns[i+1]); err != nil {
			return
		}
	}
	if tc, ok := c.(*net.TCPConn); ok {
		_ = tc.CloseWrite()
	}
	rest, _ := io.ReadAll(c)
	assert.Empty(t, rest, "nothing may be sent after the proxy's last word")
}

func TestSOCKS(t *testing.T) {
	for _, c := range socksCases() {
		t.Run(c.name, func(t *testing.T) {
			proxy := listen(t, func(nc net.Conn) { play(t, nc, c.turns) })
			opts := []driver.Option{driver.WithProxy(c.kind, proxy)}
			if c.user != "" {
				opts = append(opts, driver.WithProxyLogin(c.user, c.pass))
			}
			line, err := through(t, c.target, opts...)
			if c.step == "" {
				require.NoError(t, err)
				assert.Equal(t, "220 hello", line)
				return
			}
			pe, ok := errors.AsType[*driver.ProxyError](err)
			require.True(t, ok, "%v", err)
			assert.Equal(t, c.step, pe.Step)
			assert.Equal(t, c.want, driver.KindOf(err))
			assert.ErrorContains(t, err, c.text)
			de, _ := errors.AsType[*driver.Error](err)
			assert.Equal(t, "proxy", de.Op)
		})
	}
}
