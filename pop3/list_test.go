package pop3

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/pop3/pop3test"
)

// withAndWithout runs a test on a server that takes pipelined commands and on
// one that does not.
func withAndWithout(t *testing.T, f func(t *testing.T, opts ...pop3test.Option)) {
	t.Run("pipelined", func(t *testing.T) { f(t, pop3test.WithPipelining()) })
	t.Run("one by one", func(t *testing.T) { f(t) })
}

func TestList(t *testing.T) {
	withAndWithout(t, func(t *testing.T, opts ...pop3test.Option) {
		srv := newServer(t, opts...)
		mb := openBox(t, srv.Addr)
		assert.Empty(t, mustList(t, mb))
		require.NoError(t, mb.Commit(t.Context()))

		var want []driver.ID
		for i := range 300 {
			want = append(want, driver.ID(srv.AddText(fmt.Sprintf("Subject: %d\n\nbody\n", i))))
		}
		mb = openBox(t, srv.Addr)
		ids, sizes, err := listIDs(t.Context(), mb)
		require.NoError(t, err)
		assert.Equal(t, want, ids)
		assert.Equal(t, int64(len(srv.Messages()[0].Raw)), sizes[0])
		assert.Equal(t, want, mustList(t, mb), "a second time")
		assert.Empty(t, srv.Violations())
		for _, r := range srv.Ledger() {
			assert.Equal(t, 4, r.Listed) // LIST and UIDL, twice
		}
	})
}

// listingCase is a server's answer to LIST or UIDL for a mailbox of two mails.
var listingCases = []struct {
	name, list, uidl string
	ok               bool
}{
	{"as it should be", "1 10\r\n2 20\r\n", "1 a\r\n2 b\r\n", true},
	{"not in order", "2 20\r\n1 10\r\n", "2 b\r\n1 a\r\n", true},
	{"more spaces and words", " 1  10 \r\n2 20 extra\r\n", "1  a\r\n2 b\r\n", true},
	{"longest id", "1 10\r\n2 20\r\n", "1 a\r\n2 " + strings.Repeat("x", maxUIDL) + "\r\n", true},
	{"F17 size is missing", "1\r\n2 20\r\n", "1 a\r\n2 b\r\n", true},
	{"F17 size is negative", "1 -5\r\n2 20\r\n", "1 a\r\n2 b\r\n", true},
	{"F17 size is huge", "1 99999999999999999999999\r\n2 20\r\n", "1 a\r\n2 b\r\n", true},
	{"F17 size is a word", "1 many\r\n2 20\r\n", "1 a\r\n2 b\r\n", true},
	{"more mails than STAT counts", "1 10\r\n2 20\r\n3 30\r\n", "1 a\r\n2 b\r\n3 c\r\n", true},
	{"F19 LIST lacks a mail", "1 10\r\n", "1 a\r\n2 b\r\n", false},
	{"F19 both lack a mail", "1 10\r\n", "1 a\r\n", false},
	{"F19 UIDL lacks a mail", "1 10\r\n2 20\r\n", "1 a\r\n", false},
	{"F19 UIDL has one more", "1 10\r\n2 20\r\n", "1 a\r\n2 b\r\n3 c\r\n", false},
	{"F19 other numbers", "1 10\r\n2 20\r\n", "1 a\r\n3 b\r\n", false},
	{"F19 number twice", "1 10\r\n2 20\r\n", "1 a\r\n1 b\r\n", false},
	{"F19 number zero", "1 10\r\n0 20\r\n", "1 a\r\n2 b\r\n", false},
	{"F19 number with a sign", "1 10\r\n+2 20\r\n", "1 a\r\n2 b\r\n", false},
	{"F19 number too big", "1 10\r\n2147483648 20\r\n", "1 a\r\n2 b\r\n", false},
	{"F19 garbage in between", "1 10\r\nwarning: oops\r\n2 20\r\n", "1 a\r\n2 b\r\n", false},
	{"F19 empty line", "1 10\r\n\r\n2 20\r\n", "1 a\r\n2 b\r\n", false},
	{"F19 id is missing", "1 10\r\n2 20\r\n", "1 a\r\n2\r\n", false},
	{"F19 id is blank", "1 10\r\n2 20\r\n", "1 a\r\n2 \r\n", false},
	{"F19 id has a space", "1 10\r\n2 20\r\n", "1 a\r\n2 b c\r\n", false},
	{"F19 id has 8 bits", "1 10\r\n2 20\r\n", "1 a\r\n2 b\xe9\r\n", false},
	{"F19 id has a control character", "1 10\r\n2 20\r\n", "1 a\r\n2 b\x00\r\n", false},
	{"F19 id is too long", "1 10\r\n2 20\r\n", "1 a\r\n2 " + strings.Repeat("x", maxUIDL+1) + "\r\n", false},
	{"F19 line of 64 KiB", "1 10\r\n2 20\r\n", "1 a\r\n2 " + strings.Repeat("x", 64<<10) + "\r\n", false},
	{"F19 bare LF", "1 10\n2 20\r\n", "1 a\r\n2 b\r\n", false},
}

func TestListingIsWholeOrAnError(t *testing.T) {
	for _, c := range listingCases {
		t.Run(c.name, func(t *testing.T) {
			withAndWithout(t, func(t *testing.T, opts ...pop3test.Option) {
				srv := newServer(t, opts...)
				srv.Script(
					pop3test.Rule{At: pop3test.StepStat, Do: pop3test.Reply("+OK 2 30")},
					pop3test.Rule{At: pop3test.StepList, Do: pop3test.Reply("+OK\r\n" + c.list + ".\r\n")},
					pop3test.Rule{At: pop3test.StepUIDL, Do: pop3test.Reply("+OK\r\n" + c.uidl + ".\r\n")},
				)
				mb := openBox(t, srv.Addr)
				ids, sizes, err := listIDs(t.Context(), mb)
				if !c.ok {
					require.Error(t, err)
					assert.Equal(t, driver.KindProtocol, driver.KindOf(err), err)
					assert.Empty(t, ids, "nothing is yielded of a listing that is wrong")
					require.Error(t, mb.Commit(t.Context()), "I7: the session is over")
					assert.NotContains(t, string(srv.Transcripts()[0].Client), "QUIT")
					return
				}
				require.NoError(t, err)
				assert.Equal(t, driver.ID("a"), ids[0])
				assert.Len(t, ids, len(sizes))
				if strings.HasPrefix(c.name, "F17") {
					assert.Equal(t, []int64{-1, 20}, sizes)
				}
			})
		})
	}
}

func TestF19OddReplies(t *testing.T) {
	for _, c := range []struct {
		name  string
		step  pop3test.Step
		reply string
		kind  driver.Kind
	}{
		{"STAT without a number", pop3test.StepStat, "+OK", driver.KindProtocol},
		{"STAT with words", pop3test.StepStat, "+OK two mails", driver.KindProtocol},
		{"STAT negative", pop3test.StepStat, "+OK -1 5", driver.KindProtocol},
		{"STAT refused", pop3test.StepStat, "-ERR no", driver.KindTemporary},
		{"LIST refused", pop3test.StepList, "-ERR no", driver.KindTemporary},
		{"UIDL in trouble", pop3test.StepUIDL, "-ERR [SYS/TEMP] index is locked", driver.KindTemporary},
		{"blank status", pop3test.StepList, "", driver.KindProtocol},
		{"status with NUL", pop3test.StepList, "\x00\x00", driver.KindProtocol},
		{"another protocol", pop3test.StepList, "* BYE", driver.KindProtocol},
		{"continuation", pop3test.StepStat, "+ go on", driver.KindProtocol},
		{"line of 64 KiB", pop3test.StepStat, "+OK " + strings.Repeat("1", 64<<10), driver.KindProtocol},
		{"an answer nobody asked for", pop3test.StepStat, "+OK 0 0\r\n+OK 0 0\r\n", driver.KindProtocol},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv := newServer(t)
			srv.Script(pop3test.Rule{At: c.step, Do: pop3test.Reply(c.reply)})
			mb := openBox(t, srv.Addr)
			_, _, err := listIDs(t.Context(), mb)
			require.Error(t, err)
			assert.Equal(t, c.kind, driver.KindOf(err), err)
			assert.Less(t, len(err.Error()), 600)
			if c.reply == "" {
				require.ErrorIs(t, err, errBlank)
			}
			require.Error(t, mb.Commit(t.Context()))
			assert.NotContains(t, string(srv.Transcripts()[0].Client), "QUIT")
		})
	}
}

func TestA20EndlessListing(t *testing.T) {
	srv := newServer(t)
	var lines strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&lines, "%d 5\r\n", i+1)
	}
	srv.Script(pop3test.Rule{At: pop3test.StepList, Do: pop3test.Reply("+OK\r\n" + lines.String() + ".\r\n")})
	mb := openBox(t, srv.Addr, WithMaxListing(1999))
	_, _, err := listIDs(t.Context(), mb)
	require.ErrorIs(t, err, driver.ErrLimit)
	assert.Contains(t, err.Error(), "1999")

	srv = newServer(t)
	srv.Script(pop3test.Rule{At: pop3test.StepCapa, Do: pop3test.Reply("+OK\r\n" + strings.Repeat("X-FEATURE\r\n", maxCapaLines+1) + ".\r\n")})
	_, err = tryOpen(t, srv.Addr)
	require.ErrorIs(t, err, driver.ErrLimit)
}

// TestF15TwoMailsWithOneUIDL: both are delivered, each under an id of its own
// that stays when the other one is gone.
func TestF15TwoMailsWithOneUIDL(t *testing.T) {
	withAndWithout(t, func(t *testing.T, opts ...pop3test.Option) {
		srv := newServer(t, opts...)
		srv.AddMail(pop3test.Mail{UIDL: "same", Raw: []byte("Message-ID: <1@x>\r\n\r\none\r\n")})
		srv.AddMail(pop3test.Mail{UIDL: "other", Raw: []byte("Message-ID: <2@x>\r\n\r\ntwo\r\n")})
		srv.AddMail(pop3test.Mail{UIDL: "same", Raw: []byte("Message-ID: <3@x>\r\n\r\nthree\r\n")})
		var log bytes.Buffer
		d := newDriver(t, srv.Addr, driver.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
		mb, err := d.open(t.Context(), &d.set)
		require.NoError(t, err)
		ids := mustList(t, mb)
		require.Len(t, ids, 3)
		assert.Equal(t, driver.ID("other"), ids[1])
		assert.NotEqual(t, ids[0], ids[2])
		assert.NotContains(t, ids, driver.ID("same"))
		got, err := fetchAll(t.Context(), mb, ids)
		require.NoError(t, err)
		assert.Contains(t, got[ids[0]], "one")
		assert.Contains(t, got[ids[2]], "three")
		require.NoError(t, mb.Remove(t.Context(), ids[:1]))
		require.NoError(t, mb.Commit(t.Context()))

		mb, err = d.open(t.Context(), &d.set)
		require.NoError(t, err)
		assert.Equal(t, ids[1:], mustList(t, mb), "the twin keeps its id")
		require.NoError(t, mb.Close())
		assert.Equal(t, 1, strings.Count(log.String(), "level=WARN"), log.String())
		assert.Empty(t, srv.Violations())
	})
}

// contentServer has no UIDL and mails that are alike in several ways.
func contentServer(t *testing.T, opts ...pop3test.Option) (*pop3test.Server, []string) {
	srv := newServer(t, append(opts, pop3test.WithoutUIDL())...)
	mails := []string{
		"Message-ID: <1@x>\r\nSubject: a\r\n\r\nplain\r\n",
		"Message-ID: <2@x>\r\n\r\nsame header and size, 1\r\n",
		"Message-ID: <2@x>\r\n\r\nsame header and size, 2\r\n",
		"Message-ID: <3@x>\r\n\r\nequal in every byte\r\n",
		"Message-ID: <3@x>\r\n\r\nequal in every byte\r\n",
		"Message-ID: <4@x>\r\n\r\nsame header, another size\r\n",
		"Message-ID: <4@x>\r\n\r\nsame header, another size than that\r\n",
		"no header at all",
		"",
	}
	for _, m := range mails {
		srv.Add([]byte(m))
	}
	return srv, mails
}

func TestF16NoUIDL(t *testing.T) {
	for name, opts := range map[string][]pop3test.Option{
		"TOP, pipelined":      {pop3test.WithPipelining()},
		"TOP":                 nil,
		"no CAPA":             {pop3test.WithoutCapa()},
		"no CAPA and no TOP":  {pop3test.WithoutCapa(), pop3test.WithoutTOP()},
		"no TOP":              {pop3test.WithoutTOP()},
		"no TOP, pipelined":   {pop3test.WithoutTOP(), pop3test.WithPipelining()},
		"UIDL and TOP a lie":  {pop3test.WithCapabilities(nil, []string{"UIDL", "TOP"}), pop3test.WithoutTOP()},
		"UIDL, TOP after all": {pop3test.WithCapabilities([]string{"USER"}, []string{"USER", "TOP"})},
	} {
		t.Run(name, func(t *testing.T) {
			srv, mails := contentServer(t, opts...)
			mb := openBox(t, srv.Addr)
			ids := mustList(t, mb)
			require.Len(t, ids, len(mails))
			distinct := make(map[driver.ID]bool)
			for _, id := range ids {
				distinct[id] = true
			}
			require.Len(t, distinct, len(mails), "%v", ids)
			if name == "no CAPA and no TOP" {
				assert.Equal(t, 1, strings.Count(string(srv.Transcripts()[0].Client), "TOP"), "one try is enough")
			}
			got, err := fetchAll(t.Context(), mb, ids)
			require.NoError(t, err)
			for i, m := range mails {
				assert.Equal(t, strings.TrimSuffix(m, "\r\n"), strings.TrimSuffix(got[ids[i]], "\r\n"))
			}
			require.NoError(t, mb.Commit(t.Context()))
			assert.Equal(t, ids, mustList(t, openBox(t, srv.Addr)), "the same ids in the next session")
		})
	}
}

func TestF16UIDLRefusedOnceIsNoReasonToChangeIDs(t *testing.T) {
	withAndWithout(t, func(t *testing.T, opts ...pop3test.Option) {
		srv := newServer(t, opts...)
		id := srv.AddText("Subject: x\n\ny\n")
		srv.Script(pop3test.Rule{At: pop3test.StepUIDL, Times: 1, Do: pop3test.Reply("-ERR index is being rebuilt")})
		mb := openBox(t, srv.Addr)
		assert.Equal(t, []driver.ID{driver.ID(id)}, mustList(t, mb))
	})
}

func TestContentIDsIgnoreWhatServersChange(t *testing.T) {
	a, err := hashHeader(strings.NewReader("From: a@x\r\nSubject: s\r\n folded\r\n\r\nbody\r\n"))
	require.NoError(t, err)
	for text, same := range map[string]bool{
		"From: a@x\r\nSubject: s\r\n folded\r\nStatus: RO\r\n\r\n":                    true,
		"X-UIDL: abc\r\n def\r\nFrom: a@x\r\nSubject: s\r\n folded\r\n\r\nelse\r\n":   true,
		"From: a@x\r\nSubject: s\r\n folded\r\n":                                      true,
		"From: a@x\r\nSubject: s\r\nX-Status: A\r\n folded\r\n\r\n":                   false,
		"From: a@x\r\nSubject: t\r\n folded\r\n\r\n":                                  false,
		"From: a@x\r\nSubject: s\r\n folded\r\n" + strings.Repeat("x", 9000) + "\r\n": false,
	} {
		b, err := hashHeader(strings.NewReader(text))
		require.NoError(t, err)
		assert.Equal(t, same, a == b, "%.60q", text)
	}
	_, err = hashHeader(&failingReader{"From: a@x\r\n"})
	require.Error(t, err)
}

type failingReader struct{ text string }

func (r *failingReader) Read(p []byte) (int, error) {
	if r.text == "" {
		return 0, errors.New("lost")
	}
	n := copy(p, r.text)
	r.text = r.text[n:]
	return n, nil
}

// TestF14ReusedUIDL: the mailbox gives what the pipeline needs to see that a
// known UIDL means another mail.
func TestF14ReusedUIDL(t *testing.T) {
	for name, opts := range map[string][]pop3test.Option{
		"TOP": nil, "no TOP": {pop3test.WithoutTOP()}, "TOP a lie": {pop3test.WithoutTOP(), pop3test.WithCapabilities(nil, []string{"UIDL", "TOP"})},
	} {
		t.Run(name, func(t *testing.T) {
			srv := newServer(t, opts...)
			header := "Subject: one\r\nX-Long: " + strings.Repeat("y", 10_000) + "\r\n\r\n"
			srv.AddMail(pop3test.Mail{UIDL: "again", Raw: []byte(header + "body\r\n")})
			mb := openBox(t, srv.Addr)
			ids := mustList(t, mb)
			require.Equal(t, []driver.ID{"again"}, ids)
			for range 2 {
				r, err := mb.Header(t.Context(), "again")
				require.NoError(t, err)
				var buf bytes.Buffer
				_, err = buf.ReadFrom(r)
				require.NoError(t, err)
				assert.Equal(t, header, buf.String())
			}
			assert.Equal(t, len(opts) == 1, !strings.Contains(string(srv.Transcripts()[0].Client), "TOP"))
			if len(opts) > 1 {
				assert.Equal(t, 1, strings.Count(string(srv.Transcripts()[0].Client), "TOP"), "what a server refuses is not asked twice")
			}
			_, err := mb.Header(t.Context(), "unknown")
			require.Error(t, err)
			srv.Vanish("again")
			_, err = mb.Header(t.Context(), "again")
			require.Error(t, err)
			require.NoError(t, mb.KeepAlive(t.Context()), "the session is in step")
			require.NoError(t, mb.Commit(t.Context()))
		})
	}
}

func TestHeaderIsBounded(t *testing.T) {
	srv := newServer(t)
	srv.Add([]byte("Subject: " + strings.Repeat("x", 3<<20) + "\r\n\r\nbody\r\n"))
	mb := openBox(t, srv.Addr)
	r, err := mb.Header(t.Context(), mustList(t, mb)[0])
	require.NoError(t, err)
	assert.LessOrEqual(t, r.(*bytes.Buffer).Len(), maxHeader+4<<10)
	require.NoError(t, mb.Commit(t.Context()))
}

// TestA20EndlessMailsWhereContentMakesIDs: looking at content has limits too.
func TestA20EndlessMailsWhereContentMakesIDs(t *testing.T) {
	t.Run("header", func(t *testing.T) {
		srv := newServer(t, pop3test.WithoutUIDL())
		srv.AddMail(pop3test.Mail{Open: func() io.Reader { return io.LimitReader(endless{}, maxDrain+1<<20) }})
		_, _, err := listIDs(t.Context(), openBox(t, srv.Addr))
		require.ErrorIs(t, err, driver.ErrLimit)
		assert.Equal(t, driver.KindProtocol, driver.KindOf(err))
	})
	t.Run("mail", func(t *testing.T) {
		srv := newServer(t, pop3test.WithoutUIDL(), pop3test.WithoutTOP())
		srv.AddMail(pop3test.Mail{Open: sized(3 << 20)})
		srv.AddText("a: b\n\nc\n")
		mb := openBox(t, srv.Addr, driver.WithMaxMessageBytes(1<<20))
		ids := mustList(t, mb)
		assert.Len(t, ids, 2)
		r, err := mb.Header(t.Context(), ids[0])
		require.NoError(t, err)
		assert.Equal(t, "Subject: big\r\n\r\n", r.(*bytes.Buffer).String())
		require.NoError(t, mb.Commit(t.Context()))
	})
}

func FuzzListing(f *testing.F) {
	for _, c := range listingCases {
		f.Add(c.list)
		f.Add(c.uidl)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for line := range strings.SplitSeq(text, "\r\n") {
			first, rest, _ := strings.Cut(line, " ")
			if n, err := messageNumber(first); err == nil {
				assert.Positive(t, n)
			}
			assert.GreaterOrEqual(t, sizeHint(rest), int64(-1))
			if isUIDL(rest) {
				assert.NotContains(t, rest, " ")
				assert.NotEmpty(t, rest)
			}
			_, _ = statCount(line)
		}
	})
}
