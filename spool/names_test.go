package spool

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func goldenSpool(t *testing.T, opts ...Option) (*Spool, *Service) {
	s := newSpool(t, tempRoot(t), append(opts, WithNow(func() time.Time { return time.Unix(0x66a1b2c3, 5) }))...)
	s.pid, s.elapsed = 0x1a2b, func() uint64 { return 0xff }
	return s, &Service{pid: s.pid, driver: 3, handle: 0x1f, created: 0x66a1b2c3, state: sessionOpen, names: map[string]bool{}}
}

func TestNamesAreTheDocumentedOnes(t *testing.T) {
	s, svc := goldenSpool(t)
	assert.Equal(t, "1a2b_3_1f_66a1b2c3", svc.Prefix())
	for want, create := range map[string]func() (*Out, error){
		"POP3_1a2b_3_1f_66a1b2c3_a_ff.tmp":                  func() (*Out, error) { return s.CreateIncoming(svc, "POP3", 10) },
		"IMAP_1a2b_3_1f_66a1b2c3_1_ff.tmp":                  func() (*Out, error) { return s.CreateIncoming(svc, "imap", 1) },
		"EWS_1a2b_3_1f_66a1b2c3_1_ff.tmp":                   func() (*Out, error) { return s.CreateIncoming(svc, "EWS", 1) },
		"WEBDAV_1a2b_3_1f_66a1b2c3_1_ff.tmp":                func() (*Out, error) { return s.CreateIncoming(svc, "WEBDAV", 1) },
		"ATT_1a2b_3_1f_66a1b2c3_1_10_ff.dat":                func() (*Out, error) { return s.CreateAttachment(svc, 1, 16) },
		"OriginalMessageText_1a2b_3_1f_66a1b2c3_1_0_ff.txt": func() (*Out, error) { return s.CreateOriginalText(svc, 1, 0) },
	} {
		o, err := create()
		require.NoError(t, err)
		assert.Equal(t, want, o.Name())
		assert.Equal(t, filepath.Join(s.Dir(Incoming), want), o.Path())
		assert.FileExists(t, o.Path()+".part", "I3: no final name before Commit")
		assert.NoFileExists(t, o.Path())
		require.NoError(t, o.Commit())
		require.NoError(t, o.Abort(), "Abort after Commit does nothing")
		assert.FileExists(t, o.Path())
		n, ok := ParseName(o.Name())
		require.True(t, ok)
		assert.Equal(t, o.Name(), n.String())
		assert.Equal(t, svc.Prefix(), ServiceOf(o.Name()))
	}
	m, err := s.CreateSent(svc, 2)
	require.NoError(t, err)
	assert.Equal(t, "SMTP_1a2b_3_1f_66a1b2c3_2_ff.tmp", m.Name())
	require.NoError(t, m.Discard())

	for _, bad := range []string{"", "../x", "ATT", "P/3", strings.Repeat("A", 33)} {
		_, err := s.CreateIncoming(svc, bad, 1)
		assert.Error(t, err, "protocol %q", bad)
	}
}

func TestHandlesCountFromOne(t *testing.T) {
	a, b := NewDriverHandle(), NewDriverHandle()
	assert.Equal(t, a+1, b)
	assert.NotZero(t, a)
	s := newSpool(t, tempRoot(t), WithNow(func() time.Time { return time.Unix(16, 0) }))
	v, w := s.NewService(7), s.NewService(7)
	assert.Equal(t, v.handle+1, w.handle)
	assert.True(t, strings.HasSuffix(v.Prefix(), "_10"), v.Prefix())
	assert.NotEqual(t, v.Prefix(), w.Prefix())
}

func TestParseName(t *testing.T) {
	for _, c := range []struct {
		name, service string
		att           uint64
		ok            bool
	}{
		{"POP3_1_2_3_4_5_6.tmp", "1_2_3_4", 0, true},
		{"pop3_01_002_0003_0A_5_6.TMP", "1_2_3_a", 0, true},
		{"POP3_1_2_3_4_5_6.tmp.part", "1_2_3_4", 0, true},
		{"ATT_1_2_3_4_5_a_7.dat", "1_2_3_4", 10, true},
		{"OriginalMessageText_1_2_3_4_5_6_7.txt", "1_2_3_4", 6, true},
		{"ORIGINALMESSAGETEXT_1_2_3_4_5_7.txt", "1_2_3_4", 0, true}, // six fields in old documents
		{"ATT_1_2_3_4_5_7.dat", "", 0, false},
		{"POP3_1_2_3_4_5.tmp", "", 0, false},
		{"POP3_1_2_3_4_5_6_7.tmp", "", 0, false},
		{"POP3_1_2_3_4_5_+6.tmp", "", 0, false},
		{"POP3_1_2_3_4_5_g.tmp", "", 0, false},
		{"POP3_1_2_3_4_5_.tmp", "", 0, false},
		{"POP3_1_2_3_4_5_10000000000000000.tmp", "", 0, false},
		{"ATT_1_2_3_4_5_6.tmp", "", 0, false},
		{"_1_2_3_4_5_6.tmp", "", 0, false},
		{"a/b_1_2_3_4_5_6.tmp", "", 0, false},
		{"POP3_1_2_3_4_5_6.tmp.reason", "", 0, false},
		{"Lock_mail_x.lock", "", 0, false},
		{".tmp", "", 0, false},
		{"", "", 0, false},
	} {
		n, ok := ParseName(c.name)
		assert.Equal(t, c.ok, ok, c.name)
		assert.Equal(t, c.service, ServiceOf(c.name), c.name)
		assert.Equal(t, c.att, n.Attachment, c.name)
	}
}

func FuzzParseName(f *testing.F) {
	for _, s := range []string{"POP3_1_2_3_4_5_6.tmp", "ATT_1_2_3_4_5_a_7.dat.part", "OriginalMessageText_1_2_3_4_5_7.txt", "ORIGINALMESSAGETEXT_0_0_0_0_0_0_0.TXT", "x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, ok := ParseName(s)
		if !ok {
			return
		}
		again, ok := ParseName(n.String())
		require.True(t, ok, n.String())
		require.Equal(t, n, again)
		require.Equal(t, ServiceOf(s), ServiceOf(n.String()))
		require.NoError(t, checkName(n.String()))
	})
}

func TestA37TakenNamesLeadToTheNextMillisecond(t *testing.T) {
	s, svc := goldenSpool(t)
	require.NoError(t, s.Prepare())
	in := s.Dir(Incoming)
	for _, name := range []string{ // guessed by somebody, or left by a container with the same pid
		"POP3_1a2b_3_1f_66a1b2c3_1_ff.tmp", "POP3_1a2b_3_1f_66a1b2c3_1_100.tmp.part",
	} {
		require.NoError(t, os.WriteFile(filepath.Join(in, name), []byte("theirs"), 0o600))
	}
	raw, err := s.CreateIncoming(svc, "POP3", 1)
	require.NoError(t, err)
	assert.Equal(t, "POP3_1a2b_3_1f_66a1b2c3_1_101.tmp", raw.Name(), "A37")
	_, err = raw.Write([]byte("ours"))
	require.NoError(t, err)
	require.NoError(t, raw.Commit())
	for name, want := range map[string]string{raw.Name(): "ours", "POP3_1a2b_3_1f_66a1b2c3_1_ff.tmp": "theirs", "POP3_1a2b_3_1f_66a1b2c3_1_100.tmp.part": "theirs"} {
		b, err := os.ReadFile(filepath.Join(in, name))
		require.NoError(t, err)
		assert.Equal(t, want, string(b), "A37: an existing file is never opened")
	}
}

func TestMoveKeepsTheNameUnlessTaken(t *testing.T) {
	s, svc := goldenSpool(t)
	raw, err := s.CreateIncoming(svc, "POP3", 1)
	require.NoError(t, err)
	require.NoError(t, raw.Commit())
	require.NoError(t, os.WriteFile(s.Path(Failed, raw.Name()), []byte("older"), 0o600))
	name, err := s.Move(Incoming, raw.Name(), Failed)
	require.NoError(t, err)
	assert.Equal(t, "POP3_1a2b_3_1f_66a1b2c3_1_100.tmp", name)
	older, err := os.ReadFile(s.Path(Failed, raw.Name()))
	require.NoError(t, err)
	assert.Equal(t, "older", string(older))
	_, err = s.Move(Incoming, raw.Name(), Failed)
	assert.ErrorIs(t, err, os.ErrNotExist)
	_, err = s.Move(Incoming, "../escape", Failed)
	assert.ErrorIs(t, err, ErrName)
	require.NoError(t, s.RemoveFile(Failed, name))
	require.NoError(t, s.RemoveFile(Failed, name), "missing is fine")
}

func TestReasonIsKeptAndCapped(t *testing.T) {
	s := newSpool(t, tempRoot(t))
	require.NoError(t, s.WriteReason(Failed, "POP3_1_1_1_1_1_1.tmp", strings.Repeat("x", maxReasonFile+5)))
	require.NoError(t, s.WriteReason(Failed, "POP3_1_1_1_1_1_1.tmp", "second"))
	b, err := os.ReadFile(s.Path(Failed, "POP3_1_1_1_1_1_1.tmp.reason"))
	require.NoError(t, err)
	assert.Len(t, b, maxReasonFile+1)
	assert.Equal(t, []string{"failed/POP3_1_1_1_1_1_1.tmp.reason"}, tree(t, s.Dir(Root)))
}
