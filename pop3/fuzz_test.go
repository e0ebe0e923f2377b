package pop3

import (
	"bytes"
	"context"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/maildriver/maildriver/driver"
)

// A recording is a connection whose server said everything beforehand. It
// comes line by line, or it would look like answers to what was not asked.
type recording struct {
	net.Conn
	said []byte
}

func (r *recording) Read(p []byte) (int, error) {
	if len(r.said) == 0 {
		return 0, io.EOF
	}
	n := bytes.IndexByte(r.said, '\n') + 1
	if n == 0 {
		n = len(r.said)
	}
	n = copy(p, r.said[:n])
	r.said = r.said[n:]
	return n, nil
}

func (r *recording) Write(p []byte) (int, error)      { return len(p), nil }
func (r *recording) Close() error                     { return nil }
func (r *recording) SetDeadline(time.Time) error      { return nil }
func (r *recording) SetReadDeadline(time.Time) error  { return nil }
func (r *recording) SetWriteDeadline(time.Time) error { return nil }
func (r *recording) LocalAddr() net.Addr              { return nil }

// playBack runs a whole session against what a server said.
func playBack(t *testing.T, said []byte) (mails map[driver.ID]string, err error) {
	o := options{
		pop3: newSettings(), net: driver.NewNetwork(), common: driver.NewCommon(), inbound: driver.NewInboundSettings(),
	}
	o.pop3.maxListing = 100
	o.net.User, o.net.Password, o.net.AllowInsecureAuth = "user", driver.NewSecret("secret-of-the-test"), true
	o.net.Dial = func(context.Context, string, string) (net.Conn, error) {
		return &recording{said: said}, nil
	}
	d := &Driver{host: "mail.example.com", set: o}
	mb, err := d.open(t.Context(), &d.set)
	if err != nil {
		return nil, err
	}
	defer func() { _ = mb.Close() }()
	ids, _, err := listIDs(t.Context(), mb)
	if err != nil {
		return nil, err
	}
	mails = make(map[driver.ID]string)
	if err = mb.Fetch(t.Context(), ids, func(id driver.ID, r io.Reader) error {
		b, err := io.ReadAll(r)
		if err == nil {
			mails[id] = string(b)
		}
		return err
	}); err != nil {
		return mails, err
	}
	if err = mb.Remove(t.Context(), ids); err != nil {
		return mails, err
	}
	return mails, mb.Commit(t.Context())
}

const goodSession = "+OK hello\r\n" + // greeting
	"-ERR no CAPA\r\n" + "+OK\r\n" + "+OK\r\n" + "-ERR no CAPA\r\n" + // CAPA USER PASS CAPA
	"+OK 2 20\r\n" + "+OK\r\n1 10\r\n2 10\r\n.\r\n" + "+OK\r\n1 a\r\n2 b\r\n.\r\n" + // STAT LIST UIDL
	"+OK\r\nx: 1\r\n\r\n..\r\n.\r\n" + "-ERR gone\r\n" + // RETR
	"+OK\r\n" + "-ERR gone\r\n" + "-ERR gone\r\n" + // DELE DELE LIST
	"+OK bye\r\n"

// FuzzConversation: whatever a server says, the session ends, no mail is given
// that it did not finish, and no error tells the password.
func FuzzConversation(f *testing.F) {
	f.Add([]byte(goodSession))
	for i := 0; i < len(goodSession); i += 17 {
		f.Add([]byte(goodSession[:i]))
		f.Add(bytes.Replace([]byte(goodSession), []byte(goodSession[i:i+1]), []byte("\n"), 1))
	}
	f.Add([]byte("+OK <a@b>\r\n+OK\r\nSASL PLAIN CRAM-MD5\r\nPIPELINING\r\nUIDL\r\nTOP\r\n.\r\n+ PGFAYj4=\r\n+OK\r\n+OK\r\nTOP\r\n.\r\n+OK 1 1\r\n+OK\r\n1 1\r\n.\r\n-ERR\r\n-ERR\r\n+OK\r\na: b\r\n\r\n.\r\n"))
	f.Fuzz(func(t *testing.T, said []byte) {
		mails, err := playBack(t, said)
		if err != nil {
			assert.NotContains(t, err.Error(), "secret-of-the-test")
			assert.NotEqual(t, driver.KindUnknown, driver.KindOf(err), "I5: %v", err)
			assert.Less(t, len(err.Error()), 4<<10)
		}
		for _, text := range mails {
			assert.LessOrEqual(t, len(text), len(said))
		}
	})
}

func TestPlayBack(t *testing.T) {
	mails, err := playBack(t, []byte(goodSession))
	assert.NoError(t, err)
	assert.Equal(t, map[driver.ID]string{"a": "x: 1\r\n\r\n.\r\n"}, mails)
}
