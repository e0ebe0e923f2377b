package driver_test

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
)

func TestPublicAddressesOnly(t *testing.T) {
	for addr, public := range map[string]bool{
		"8.8.8.8": true, "2606:4700::1111": true, "64:ff9b::808:808": true, "2002:808:808::1": true, "::ffff:8.8.8.8": true,
		"127.0.0.1": false, "10.0.0.1": false, "172.16.0.1": false, "192.168.1.1": false, "169.254.169.254": false, "100.64.0.1": false,
		"0.0.0.0": false, "0.1.2.3": false, "224.0.0.1": false, "255.255.255.255": false, "240.0.0.1": false, "198.18.0.1": false, "192.0.2.1": false,
		"::1": false, "::": false, "fe80::1": false, "fe80::1%eth0": false, "fc00::1": false, "fd12::1": false, "ff02::1": false, "2001:db8::1": false,
		"::ffff:127.0.0.1": false, "::ffff:10.0.0.1": false, "64:ff9b::7f00:1": false, "64:ff9b::a9fe:a9fe": false, "2002:7f00:1::": false, "::7f00:1": false, "64:ff9b:1::1": false, "fec0::1": false,
	} {
		err := driver.PublicAddressesOnly(t.Context(), driver.DialTarget{Host: "h", Addr: netip.AddrPortFrom(netip.MustParseAddr(addr), 25)})
		if public {
			assert.NoError(t, err, addr)
		} else {
			assert.ErrorIs(t, err, driver.ErrNotPublic, addr)
		}
	}
	require.ErrorIs(t, driver.PublicAddressesOnly(t.Context(), driver.DialTarget{Host: "name.example"}), driver.ErrNotPublic)
	require.NoError(t, driver.PublicAddressesOnly(t.Context(), driver.DialTarget{Host: "proxy", Addr: netip.MustParseAddrPort("10.0.0.1:1080"), Proxy: true}))
}

func TestParseSecret(t *testing.T) {
	file := filepath.Join(t.TempDir(), "s")
	write := func(text string) { require.NoError(t, os.WriteFile(file, []byte(text), 0o600)) }
	t.Setenv("MAILDRIVER_SECRET", "from env")
	write("from file\n")
	for in, want := range map[string]string{
		"": "", "plain": "plain", "env:MAILDRIVER_SECRET": "from env", "file:" + file: "from file", "text:env:X": "env:X", "text:": "", "ENV:X": "ENV:X",
	} {
		s, err := driver.ParseSecret(in)
		require.NoError(t, err, in)
		assert.Equal(t, want == "", s.IsZero(), in)
		s, err = s.Resolve(t.Context())
		require.NoError(t, err, in)
		assert.Equal(t, want, s.Reveal(), in)
	}
	for _, in := range []string{"env:", "file:"} {
		_, err := driver.ParseSecret(in)
		require.Error(t, err, in)
	}
	for name, text := range map[string]string{"empty": "", "only a line end": "\n", "two lines": "a\nb\n", "too long": strings.Repeat("x", 70<<10), "NUL": "a\x00b"} {
		write(text)
		_, err := driver.SecretFromFile(file).Resolve(t.Context())
		se, ok := errors.AsType[*driver.SecretError](err)
		require.True(t, ok, name)
		assert.Equal(t, "file "+file, se.Place)
	}
	_, err := driver.SecretFunc(func(context.Context) (string, error) { return "a\r\nb", nil }).Resolve(t.Context())
	require.Error(t, err)
	assert.NotContains(t, err.Error(), "a\r\nb")
	assert.True(t, driver.SecretFunc(nil).IsZero())
}

// network reads the rows of a driver that connects.
func network(t *testing.T, parameters map[string]string) (*driver.Network, error) {
	t.Helper()
	parameters["POP3 Server"] = "pop.example.com"
	v, err := driver.ReadParameters(append(driver.NetworkRows("POP3", 110, 995), driver.CommonRows()...), true, parameters)
	require.NoError(t, err)
	_, opts, err := driver.NetworkOptions(v, "POP3", map[string]string{})
	n := driver.NewNetwork()
	return &n, errors.Join(err, driver.Apply(opts, &n))
}

// TestLoginRows: rows that count only for a login, and nobody who logs in.
func TestLoginRows(t *testing.T) {
	for _, c := range []struct {
		in  map[string]string
		row string // that the missing account is needed for, "" for none
	}{
		{map[string]string{}, ""},
		{map[string]string{"SMTP Authentication": "Auto"}, ""},
		{map[string]string{"SMTP Authentication": "EXTERNAL"}, ""},
		{map[string]string{"SMTP Authentication": "GSSapi", "SMTP Service Principal Name": "smtp/h.example"}, ""},
		{map[string]string{"SMTP Authentication": "OAuth20"}, ""},
		{map[string]string{"SMTP Access Token": "text:t"}, ""},
		{map[string]string{"SMTP Authentication": "plain", "SMTP Account Name": "u", "SMTP Account Password": "p", "SMTP Domain Name": "D"}, ""},
		{map[string]string{"SMTP Authentication": "SCRAM-SHA-256"}, "SMTP Authentication"},
		{map[string]string{"SMTP Authentication": "NTLM", "SMTP Domain Name": "D"}, "SMTP Authentication"},
		{map[string]string{"SMTP Authentication": "XOAUTH2", "SMTP Access Token": "text:t"}, "SMTP Authentication"},
		{map[string]string{"SMTP Domain Name": "D"}, "SMTP Domain Name"},
		{map[string]string{"SMTP Authentication": "Auto", "SMTP Service Principal Name": "smtp/h.example"}, "SMTP Service Principal Name"},
	} {
		c.in["SMTP Server"] = "smtp.example.com"
		v, err := driver.ReadParameters(append(driver.NetworkRows("SMTP", 25, 465), driver.CommonRows()...), true, c.in)
		require.NoError(t, err)
		_, _, err = driver.NetworkOptions(v, "SMTP", driver.SASLNames())
		if c.row == "" {
			require.NoError(t, err, "%v", c.in)
			continue
		}
		require.ErrorContains(t, err, `"SMTP Account Name": a value is required with "`+c.row+`"`)
		assert.ErrorIs(t, err, driver.ErrParameterRequired)
	}
}

func TestProxyRows(t *testing.T) {
	for _, c := range []struct {
		name string
		in   map[string]string
		want driver.Proxy
		err  string
	}{
		{"nothing", map[string]string{}, driver.Proxy{}, ""},
		{"the seed's example", map[string]string{"PROXYTYPE": "none"}, driver.Proxy{Kind: driver.ProxyNone}, ""},
		{"system", map[string]string{"PROXYTYPE": "System default"}, driver.Proxy{Kind: driver.ProxySystem}, ""},
		{"socks4, default port", map[string]string{"PROXYTYPE": "socks4", "PROXYSERVER": "proxy.host.com"}, driver.Proxy{Kind: driver.ProxySOCKS4, Addr: "proxy.host.com:1028"}, ""},
		{"socks4a", map[string]string{"PROXYTYPE": "SOCKS4A", "PROXYSERVER": "proxy.host.com", "PROXYPORT": "3000"}, driver.Proxy{Kind: driver.ProxySOCKS4a, Addr: "proxy.host.com:3000"}, ""},
		{"socks5", map[string]string{"Proxy Type": "socks5", "Proxy Server": "::1", "Proxy Username": "u"}, driver.Proxy{Kind: driver.ProxySOCKS5, Addr: "[::1]:1028", User: "u"}, ""},
		{"http", map[string]string{"Proxy Type": "http", "Proxy Server": "h", "Proxy Port": "8080", "Proxy Authentication": "ntlm"}, driver.Proxy{Kind: driver.ProxyHTTP, Addr: "h:8080", Mechanisms: []string{"NTLM"}}, ""},
		{"https, ours", map[string]string{"Proxy Type": "https", "Proxy Server": "h"}, driver.Proxy{Kind: driver.ProxyHTTPS, Addr: "h:1028"}, ""},
		{"login for the system's", map[string]string{"Proxy Username": "u"}, driver.Proxy{User: "u"}, ""},
		{"no server", map[string]string{"Proxy Type": "http"}, driver.Proxy{}, `parameter "Proxy Server": a value is required with HTTP`},
		{"a server that would not be used", map[string]string{"Proxy Server": "h"}, driver.Proxy{}, `"Proxy Server": counts only when "Proxy Type"`},
		{"a port that would not be used", map[string]string{"Proxy Type": "none", "Proxy Port": "1"}, driver.Proxy{}, `"Proxy Port": counts only`},
		{"a user that would not be used", map[string]string{"Proxy Type": "none", "Proxy Username": "u"}, driver.Proxy{}, `"Proxy Username": counts only`},
		{"a password alone", map[string]string{"Proxy Type": "socks5", "Proxy Server": "h", "Proxy Password": "hunter2"}, driver.Proxy{}, `"Proxy Username": a value is required with a password`},
		{"a bad host", map[string]string{"Proxy Type": "socks5", "Proxy Server": "h/x"}, driver.Proxy{}, `"Proxy Server": "h/x" is not a host`},
		{"a URL", map[string]string{"Proxy Type": "http", "Proxy Server": "http://u:hunter2@h:8080"}, driver.Proxy{}, `"Proxy Server": a server is named by host or host:port`},
		{"a login with the host", map[string]string{"Proxy Type": "http", "Proxy Server": "u:hunter2@h"}, driver.Proxy{}, `"Proxy Server": a server is named by host or host:port`},
	} {
		t.Run(c.name, func(t *testing.T) {
			n, err := network(t, c.in)
			if c.err != "" {
				require.ErrorContains(t, err, c.err)
				assert.NotContains(t, err.Error(), "hunter2")
				return
			}
			require.NoError(t, err)
			assert.Equal(t, c.want, n.Proxy)
		})
	}
	n, err := network(t, map[string]string{"Proxy Type": "socks5", "Proxy Server": "h", "Proxy Username": "u", "Proxy Password": "env:MAILDRIVER_PROXY"})
	require.NoError(t, err)
	_, err = n.Resolved(t.Context())
	require.ErrorContains(t, err, "MAILDRIVER_PROXY")
	t.Setenv("MAILDRIVER_PROXY", "hunter2")
	n, err = n.Resolved(t.Context())
	require.NoError(t, err)
	assert.Equal(t, "hunter2", n.Proxy.Password.Reveal())
}

func TestCertificateRows(t *testing.T) {
	at := func(name string) string { return filepath.Join("..", "internal", "clientcert", "testdata", name) }
	const pass = "open sésame"
	for _, c := range []struct {
		name string
		in   map[string]string
		row  string
		err  error
	}{
		{"the seed's .pfx", map[string]string{"CERTIFICATE": at("modern.pfx"), "CERTIFICATEPASSPHRASE": pass}, "", nil},
		{".cer and key", map[string]string{"Certificate file name": at("client.cer"), "Private key file name": at("key-aes.pem"), "Private key file password": pass}, "", nil},
		{"a .cer without key", map[string]string{"CERTIFICATE": at("client.cer")}, "Private key file name", driver.ErrNoPrivateKey},
		{"wrong passphrase", map[string]string{"CERTIFICATE": at("modern.pfx"), "CERTIFICATEPASSPHRASE": "hunter2"}, "Private key file password", driver.ErrWrongPassphrase},
		{"no passphrase", map[string]string{"CERTIFICATE": at("modern.pfx")}, "Private key file password", driver.ErrPassphraseRequired},
		{"a passphrase from nowhere", map[string]string{"CERTIFICATE": at("modern.pfx"), "CERTIFICATEPASSPHRASE": "env:MAILDRIVER_UNSET"}, "Private key file password", nil},
		{"another key", map[string]string{"CERTIFICATE": at("client.cer"), "Private key file name": at("other.pem")}, "Private key file name", driver.ErrKeyMismatch},
		{"no file", map[string]string{"CERTIFICATE": at("none.pfx")}, "Certificate file name", os.ErrNotExist},
		{"a key without certificate", map[string]string{"Private key file name": at("key.pem")}, "Certificate file name", driver.ErrParameterRequired},
		{"no authority in the file", map[string]string{"CACertFileName": at("key.pem")}, "CA certificate file name", driver.ErrNoCertificate},
		{"a pin that is none", map[string]string{"POP3 Pinned Key": "sha1/x"}, "POP3 Pinned Key", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			n, err := network(t, c.in)
			if c.row == "" {
				require.NoError(t, err)
				require.Len(t, n.Certificates, 1)
				return
			}
			pe, ok := errors.AsType[*driver.ParamError](err)
			require.True(t, ok, "%v", err)
			assert.Equal(t, c.row, pe.Name)
			if c.err != nil {
				assert.ErrorIs(t, err, c.err)
			}
			assert.NotContains(t, err.Error(), "hunter2")
		})
	}
	pin := driver.Pin{1, 2}
	n, err := network(t, map[string]string{"CACertFileName": at("client.cer"), "POP3 Pinned Key": pin.String() + "; " + driver.Pin{}.String(), "POP3 Certificate Name": "inner.example"})
	require.NoError(t, err)
	assert.NotNil(t, n.RootCAs)
	assert.Equal(t, []driver.Pin{pin, {}}, n.Pins)
	assert.Equal(t, "inner.example", n.ServerName)
}

func TestLogDebugRows(t *testing.T) {
	root := t.TempDir()
	n, err := network(t, map[string]string{"LogDebug": "TRUE", "Spool Directory": root})
	require.NoError(t, err)
	w, err := n.Trace("POP3", "a:1")
	require.NoError(t, err)
	_, err = w.Write(make([]byte, driver.MaxTraceBytes-10))
	require.NoError(t, err)
	_, err = w.Write(make([]byte, 11))
	require.ErrorIs(t, err, driver.ErrLimit)
	require.NoError(t, w.Close())
	files, err := filepath.Glob(filepath.Join(root, "log", "POP3SMTP_*.log"))
	require.NoError(t, err)
	require.Len(t, files, 1)
	n, err = network(t, map[string]string{"LogDebug": "FALSE", "Log Directory": root})
	require.NoError(t, err)
	assert.Nil(t, n.Trace, "off by default")
	_, err = network(t, map[string]string{"LogDebug": "TRUE"})
	require.ErrorContains(t, err, `"Log Directory"`)
}
