package driver_test

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/pop3"
	"github.com/maildriver/maildriver/smtp"
)

func slurp(t *testing.T, open func() (io.ReadCloser, error)) string {
	t.Helper()
	r, err := open()
	require.NoError(t, err)
	data, err := io.ReadAll(r)
	require.NoError(t, err)
	require.NoError(t, r.Close())
	return string(data)
}

func registry() *driver.Registry {
	reg := new(driver.Registry)
	reg.Add("POP3", pop3.Params)
	reg.Add("SMTP", smtp.Params)
	reg.AddPair("Internet SMTP/POP3 Server", pop3.Params, smtp.Params)
	return reg
}

func good(t *testing.T) map[string]string {
	return map[string]string{
		"POP3 Server": "pop.example.com", "pop3-account_NAME": "u", "Mail Password": "p", "Spool Directory": t.TempDir(),
		"Enable TLS for POP3": "True", "SMTP Server": "smtp.example.com", "SMTP Server Port": "587", "enablessl for smtp": "no",
		"From Address": "Desk <desk@example.com>", "PollingInterval": "90", "POP3 Batch Size": "25", "Save Sent Msg": "TRUE",
		"Loopback Detection Interval": "", "Parse Embedded Messages": "False",
	}
}

func TestRegistryOpensAPairByDocumentedNames(t *testing.T) {
	d, err := registry().Open("internet smtp/pop3 server", good(t), pop3.WithWindow(3), smtp.Only(driver.WithTimeout(1)))
	require.NoError(t, err)
	caps := driver.CapabilitiesOf(d)
	assert.True(t, caps.Poll && caps.Send)
	sched, ok := d.(interface{ Schedule() driver.Schedule })
	require.True(t, ok)
	assert.Equal(t, "1m30s", sched.Schedule().Interval.String())
	require.NoError(t, d.Close())
	require.NoError(t, d.Close(), "twice is fine")
}

func TestRegistryReportsEveryWrongRowAtOnceAndNoSecret(t *testing.T) {
	p := good(t)
	p["Colour"] = "red"
	p["SMTP Server Port"] = "70000"
	p["POP3 Server Port"] = "many"
	p["Enable SSL for POP3"] = "TRUE" // together with TLS
	p["Mail Password"] = "hunter2\x00"
	p["Save Sent Messages"] = "TRUE" // as its other spelling
	p["CA certificate file name"] = "/nowhere/ca.pem"
	p["SMTP Account Password"] = "hunter3" // without a name
	p["From Address"] = "a@example.com, b@example.com"
	p["SMTP Delivery Status Notification"] = "SOMETIMES"
	delete(p, "POP3 Server")
	_, err := registry().Open("Internet SMTP/POP3 Server", p)
	require.Error(t, err)
	assert.Equal(t, driver.KindConfig, driver.KindOf(err))
	assert.ErrorIs(t, err, driver.ErrUnknownParameter)
	assert.ErrorIs(t, err, driver.ErrParameterRequired)
	assert.ErrorIs(t, err, driver.ErrDuplicateParameter)
	assert.ErrorIs(t, err, os.ErrNotExist)
	text := err.Error()
	for _, name := range []string{
		"Colour", "SMTP Server Port", "POP3 Server Port", "Enable SSL for POP3", "POP3 Account Password", "Save Sent",
		"CA certificate file name", "SMTP Account Name", "POP3 Server\"",
		"From Address", "SMTP Delivery Status Notification",
	} {
		assert.Contains(t, text, name)
	}
	assert.Contains(t, text, "between 1 and 65535")
	assert.NotContains(t, text, "hunter")
	assert.Len(t, driver.Faults(err), 11, text)
}

func TestSessionNamesCountForADriverAlone(t *testing.T) {
	p := map[string]string{
		"SESSION": "s1", "PROTOCOLTYPE": "pop3", "SERVER": "pop.example.com", "PORT": "110", "SECURITY": "EXPLICI",
		"USERNAME": "u", "PASSWORD": "p", "TIMEOUT": "60", "AUTHTYPE": "CramMD5", "IGNOREINVALIDCERTIFICATE": "NO", "Spool Directory": t.TempDir(),
	}
	d, err := registry().Open("POP3", p)
	require.NoError(t, err)
	require.NoError(t, d.Close())
	_, err = registry().Open("Internet SMTP/POP3 Server", p)
	assert.ErrorIs(t, err, driver.ErrUnknownParameter, "in a pair SERVER says nothing")
	p["AUTHTYPE"] = "Telepathy"
	_, err = registry().Open("POP3", p)
	assert.ErrorContains(t, err, "Telepathy")
}

func TestRegistryNamesWhatItHas(t *testing.T) {
	_, err := registry().Open("carrier pigeon", nil)
	require.Error(t, err)
	assert.ErrorContains(t, err, "Internet SMTP/POP3 Server, POP3, SMTP")
	_, err = registry().Open("SMTP", map[string]string{"SMTP Server": "x"}, pop3.WithWindow(1))
	assert.ErrorIs(t, err, driver.ErrMisplaced)
	assert.Panics(t, func() { reg := registry(); reg.Add("pop3", pop3.Params) })
}

func TestEveryDocumentedDirectoryCanBeMoved(t *testing.T) {
	p := good(t)
	for _, name := range []string{"Incoming", "Processed", "Failed", "Loopback", "Sent"} {
		p[name+" Email Directory"] = filepath.Join(p["Spool Directory"], "moved-"+name)
	}
	d, err := registry().Open("Internet SMTP/POP3 Server", p)
	require.NoError(t, err)
	require.NoError(t, d.Close())
	delete(p, "Spool Directory")
	_, err = registry().Open("Internet SMTP/POP3 Server", p)
	assert.ErrorIs(t, err, driver.ErrParameterRequired)
}

func TestReadyMessage(t *testing.T) {
	raw := "From: A <a@example.com>\r\nTo: b@example.com, B@example.com\r\nBcc: secret@example.com,\r\n other@example.com\r\nMessage-ID: <x@example.com>\r\n\r\nbody\r\nBcc: not a header\r\n"
	open := func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(raw)), nil }
	m, err := driver.ReadyMessage(open)
	require.NoError(t, err)
	assert.Equal(t, "a@example.com", m.From)
	assert.Equal(t, "x@example.com", m.MessageID)
	var to []string
	for _, r := range m.To {
		to = append(to, r.Address)
	}
	assert.Equal(t, []string{"b@example.com", "secret@example.com", "other@example.com"}, to)
	want := "From: A <a@example.com>\r\nTo: b@example.com, B@example.com\r\nMessage-ID: <x@example.com>\r\n\r\nbody\r\nBcc: not a header\r\n"
	assert.Equal(t, want, slurp(t, m.Open))

	_, err = driver.ReadyMessage(func() (io.ReadCloser, error) { return os.Open("/nowhere") })
	assert.Equal(t, driver.KindLocal, driver.KindOf(err))
	_, err = driver.ReadyMessage(func() (io.ReadCloser, error) {
		return io.NopCloser(io.LimitReader(endless{}, 10<<20)), nil
	})
	assert.ErrorIs(t, err, driver.ErrLimit)
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}
