package driver_test

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/mime"
	"github.com/maildriver/maildriver/smtp"
)

func withRows(t *testing.T, rows map[string]string, opts ...driver.Option) driver.Driver {
	p := good(t)
	for k, v := range rows {
		p[k] = v
	}
	d, err := registry().Open("Internet SMTP/POP3 Server", p, opts...)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, d.Close()) })
	return d
}

// TestComposingRows has each row reach what is sent through a pair.
func TestComposingRows(t *testing.T) {
	to := []mime.Address{{Name: "Jürgen", Addr: "j@example.com"}}
	long := strings.Repeat("x", 100)
	tests := []struct {
		name    string
		rows    map[string]string
		draft   mime.Draft
		has     []string
		hasNot  []string
		smtputf bool
	}{
		{
			name: "defaults", draft: mime.Draft{Subject: "Grüße", Text: "schön " + long, HTML: "<p>schön"},
			has: []string{
				"From: Desk <desk@example.com>\r\n", "To: =?utf-8?q?J=C3=BCrgen?= <j@example.com>\r\n", "multipart/alternative", "charset=utf-8", "quoted-printable",
			},
			hasNot: []string{"Reply-To", "Jürgen"},
		},
		{
			name: "charset", rows: map[string]string{"charset": "ISO-8859-1"}, draft: mime.Draft{Subject: "Grüße", Text: "schön"},
			has: []string{"charset=iso-8859-1", "sch=F6n", "=?iso-8859-1?b?SvxyZ2Vu?="}, hasNot: []string{"utf-8"},
		},
		{
			name: "the draft's charset", rows: map[string]string{"Charset": "iso-8859-1"}, draft: mime.Draft{Text: "schön", Charset: "utf-8"},
			has: []string{"charset=utf-8", "sch=C3=B6n"}, hasNot: []string{"iso-8859-1"},
		},
		{
			name: "a character too many", rows: map[string]string{"Charset": "iso-8859-1"}, draft: mime.Draft{Text: "5 € schön"},
			has: []string{"charset=utf-8"},
		},
		{
			name: "line length", rows: map[string]string{"Max Line Length": "80"}, draft: mime.Draft{Text: long},
			has: []string{"quoted-printable", "xxx=\r\n"}, hasNot: []string{long},
		},
		{name: "line length as it is", draft: mime.Draft{Text: long}, has: []string{long, "7bit"}},
		{
			name: "text of HTML", rows: map[string]string{"Create Plain Text From HTML": "TRUE"}, draft: mime.Draft{HTML: "<p>one<p>two"},
			has: []string{"multipart/alternative", "text/plain", "one\r\n\r\ntwo"},
		},
		{name: "HTML alone", draft: mime.Draft{HTML: "<p>one<p>two"}, has: []string{"text/html"}, hasNot: []string{"text/plain", "multipart"}},
		{
			name: "UTF-8", rows: map[string]string{"Internationalized Headers": "FALSE"}, draft: mime.Draft{Subject: "Grüße"},
			has: []string{"To: \"Jürgen\" <j@example.com>\r\n", "Subject: Grüße\r\n"}, smtputf: true,
		},
		{
			name: "UTF-8 that nobody needs", rows: map[string]string{"Internationalized Headers": "FALSE"},
			draft: mime.Draft{To: []mime.Address{{Addr: "a@example.com"}}, Subject: "plain", Text: "schön"},
			has:   []string{"Subject: plain\r\n"},
		},
		{
			name: "answers", rows: map[string]string{"Reply-To Address List": `"A\"; B" <a@example.com> (x;\)y) ; c@example.com`}, draft: mime.Draft{},
			has: []string{"Reply-To: \"A\\\"; B\" <a@example.com>, c@example.com\r\n"},
		},
		{
			name: "the draft's answers", rows: map[string]string{"Reply-To Address": "a@example.com"}, draft: mime.Draft{ReplyTo: []mime.Address{{Addr: "z@example.com"}}},
			has: []string{"Reply-To: z@example.com\r\n"},
		},
		{
			name: "the draft's sender", draft: mime.Draft{From: mime.Address{Addr: "other@example.com"}},
			has: []string{"From: other@example.com\r\n"}, hasNot: []string{"desk@"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.draft.To == nil {
				tt.draft.To = to
			}
			before := tt.draft
			m, err := driver.Compose(withRows(t, tt.rows), &tt.draft)
			require.NoError(t, err)
			assert.Equal(t, before, tt.draft, "the draft is the host's")
			raw := slurp(t, m.Open)
			for _, s := range tt.has {
				assert.Contains(t, raw, s)
			}
			for _, s := range tt.hasNot {
				assert.NotContains(t, raw, s)
			}
			assert.Equal(t, tt.smtputf, m.SMTPUTF8)
		})
	}
}

func TestComposingRowsThatAreWrong(t *testing.T) {
	p := good(t)
	for k, v := range map[string]string{
		"Charset": "utf-16", "Max Line Length": "75", "Create Plain Text From HTML": "maybe", "Reply-To Address List": "nobody", "Internationalized Headers": "7",
	} {
		p[k] = v
	}
	_, err := registry().Open("Internet SMTP/POP3 Server", p)
	require.Equal(t, driver.KindConfig, driver.KindOf(err))
	for _, row := range []string{`"Charset": can't be written`, `"Max Line Length": 75 is not between 76 and 998`, `"Create Plain Text From HTML"`, `"Reply-To Address List"`, `"Internationalized Headers"`} {
		assert.ErrorContains(t, err, row)
	}
	for _, o := range []driver.Option{
		driver.WithCharset("nothing"), driver.WithTextLineLength(75), driver.WithTextLineLength(999), driver.WithTextLineLength(-1), driver.WithReplyTo("nobody"), driver.WithReplyTo(";"),
	} {
		_, err := smtp.New("x.example", o)
		assert.ErrorContains(t, err, o.Name())
	}
}

// TestComposeOfOneCall has options that hold for one call, and hosts whose
// sender is none of ours.
func TestComposeOfOneCall(t *testing.T) {
	d := withRows(t, map[string]string{"Charset": "koi8-r"}, driver.WithUTF8Headers(true))
	draft := &mime.Draft{To: []mime.Address{{Addr: "a@example.com"}}, Subject: "Ж", Text: "Ж"}
	m, err := driver.Compose(d, draft, driver.WithCharset(""), driver.WithUTF8Headers(false), driver.WithFrom("x@example.com"))
	require.NoError(t, err)
	raw := slurp(t, m.Open)
	assert.Contains(t, raw, "charset=utf-8")
	assert.Contains(t, raw, "From: x@example.com\r\n")
	assert.False(t, m.SMTPUTF8)
	m, err = driver.Compose(d, draft)
	require.NoError(t, err)
	assert.Contains(t, slurp(t, m.Open), "charset=koi8-r")
	assert.True(t, m.SMTPUTF8, "and the next call is as before")

	_, err = driver.Compose(d, draft, smtp.WithMaxConnections(2))
	require.ErrorIs(t, err, driver.ErrMisplaced)
	_, err = driver.Compose(d, &mime.Draft{To: draft.To, MessageID: "a b"})
	require.ErrorIs(t, err, mime.ErrDraft)

	draft.From = mime.Address{Addr: "f@example.com"}
	m, err = driver.Compose(plainSender{}, draft)
	require.NoError(t, err)
	assert.Equal(t, "f@example.com", m.From)
	_, err = driver.Compose(plainSender{}, draft, driver.WithCharset("koi8-r"))
	require.ErrorIs(t, err, driver.ErrMisplaced)
}

type plainSender struct{}

func (plainSender) Send(context.Context, *driver.Message, ...driver.Option) (driver.Receipt, error) {
	return driver.Receipt{}, nil
}

func TestAnswerCharset(t *testing.T) {
	for _, tt := range []struct{ text, html, want string }{
		{"iso-8859-1", "", "iso-8859-1"},
		{"", "koi8-r", "koi8-r"},
		{"utf-8", "koi8-r", "utf-8"},
		{"us-ascii", "", ""},
		{"x-unheard-of", "", ""},
		{"utf-7", "", ""},
		{"iso-2022-kr", "", ""},
		{"ISO-2022-CN", "", ""},
		{"", "", ""},
	} {
		ev := &driver.Event{TextCharset: tt.text, HTMLCharset: tt.html, Receiver: mime.Address{Addr: "me@example.com"}, SenderAddress: "a@example.com", Sender: mime.Address{Addr: "a@example.com"}}
		assert.Equal(t, tt.want, ev.AnswerCharset(), "%+v", tt)
		// The answer is in UTF-8 unless the host says so; then the row decides
		// where the mail does not.
		d := withRows(t, map[string]string{"Charset": "iso-8859-15"})
		draft := ev.Reply()
		draft.Text = "schön"
		m, err := driver.Compose(d, draft)
		require.NoError(t, err)
		assert.Contains(t, slurp(t, m.Open), "charset=utf-8")
		draft.Charset = ev.AnswerCharset()
		m, err = driver.Compose(d, draft)
		require.NoError(t, err)
		want := map[string]string{"": "iso-8859-15", "koi8-r": "utf-8"}[tt.want]
		if want == "" {
			want = tt.want
		}
		assert.Contains(t, slurp(t, m.Open), "charset="+want)
	}
}

// TestSubjectPrefixes has a row of prefixes read, and an answer to a mail that
// has one keep its subject.
func TestSubjectPrefixes(t *testing.T) {
	_, err := registry().Open("POP3", map[string]string{
		"POP3 Server": "p.example", "POP3 Account Name": "u", "POP3 Account Password": "p", "Spool Directory": t.TempDir(), "Subject Prefixes": "AW=Reply",
	})
	require.ErrorContains(t, err, `parameter "Subject Prefixes": mime: "AW" means "Reply", which is not one of Re, Fwd, Fw`)
	set := driver.NewInboundSettings()
	v, err := driver.ReadParameters(driver.InboundRows("POP3"), false, map[string]string{"Subject Prefixes": "LOCAL; X = Fw, AW=Fwd"})
	require.NoError(t, err)
	require.NoError(t, driver.Apply(driver.InboundOptions(v, "POP3"), &set, &driver.Schedule{}))
	assert.Equal(t, "Re", set.SubjectPrefixes.Prefix("SV: x"))
	assert.Equal(t, "Fw", set.SubjectPrefixes.Prefix("x: x"))
	assert.Equal(t, "Fwd", set.SubjectPrefixes.Prefix("AW: x"), "the later wins")

	const mail = "From: a@example.com\nSubject: AW: x\n\nhi\n"
	ev, f := one(t, mail, driver.WithSubjectPrefixes(mime.SubjectPrefixes{"aw": "Re"}))
	assert.Equal(t, "Re", f["Prefix"])
	assert.Equal(t, "AW: x", ev.Reply().Subject)
	ev, f = one(t, mail)
	assert.Empty(t, f["Prefix"])
	assert.Equal(t, "Re: AW: x", ev.Reply().Subject)
}
