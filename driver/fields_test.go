package driver_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/mime"
)

// one polls a single mail and gives its event.
func one(t *testing.T, raw string, opts ...driver.Option) (*driver.Event, map[string]string) {
	t.Helper()
	b := newBench(t, strings.ReplaceAll(raw, "\n", "\r\n"))
	b.apply(append([]driver.Option{driver.WithFrom("Desk <desk@example.com>"), driver.WithProfile("desk")}, opts...)...)
	res, err := b.poll(nil)
	require.NoError(t, err)
	require.Empty(t, res.Failures)
	require.Len(t, b.events, 1)
	fields := map[string]string{}
	for _, f := range b.events[0].Fields() {
		_, twice := fields[f.Name]
		assert.False(t, twice, "%s is there twice", f.Name)
		fields[f.Name] = f.Value
	}
	return b.events[0], fields
}

func content(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(data)
}

const rich = `From: "Smith, John" <John@Smith.net>
Reply-To: "Help; Desk" <help@smith.net>, second@smith.net
To: desk@example.com, =?utf-8?q?J=C3=BCrgen?= <j@example.com>
Cc: c@example.com
Subject: RE: =?utf-8?b?UsO8Y2tmcmFnZQ==?=
Message-ID: <m1@smith.net>
In-Reply-To: <m0@example.com>
References: <r1@example.com>
 <m0@example.com>
Keywords: a, b
Keywords: c
X-Priority: 1 (Highest)
Date: Sun, 22 Nov 2026 10:00:00 +0100
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=o

--o
Content-Type: multipart/alternative; boundary=i

--i
Content-Type: text/plain; charset=iso-8859-1
Content-Transfer-Encoding: quoted-printable

Gr=FC=DFe
--i
Content-Type: text/html; charset=utf-8

<p>Grüße</p>
--i--
--o
Content-Type: application/pdf
Content-Disposition: attachment; filename*=utf-8''%C3%9Cbersicht%20..%2F..%2Fx.pdf
Content-Transfer-Encoding: base64

aGVsbG8=
--o
Content-Type: text/plain; charset=us-ascii

a second text
--o
Content-Type: image/png

PNG
--o--
`

func TestFieldsOfARichMail(t *testing.T) {
	ev, f := one(t, rich)
	for name, want := range map[string]string{
		"Attachments": "3", "HasAttach": "True",
		"Subject": "RE: Rückfrage", "Prefix": "Re",
		"SenderAddress": "john@smith.net", "SenderName": "Smith, John",
		"SenderReplyNames": `"Help; Desk" <help@smith.net>;second@smith.net`,
		"ReceiverAddress":  "desk@example.com", "ReceiverName": "Desk",
		"ToList": "desk@example.com;Jürgen <j@example.com>", "CcList": "c@example.com",
		"Sent": "2026-11-22T09:00:00Z", "Message-ID": "<m1@smith.net>",
		"In-Reply-To": "<m0@example.com>", "References": "<r1@example.com> <m0@example.com>", "Keywords": "a, b,c",
		"Priority": "1", "TextNote": "Grüße", "text/plain charset": "iso-8859-1",
		"HTMLBody": "<p>Grüße</p>", "text/html charset": "utf-8",
		"LoopbackCandidate": "False", "IsDeliveryStatusNotification": "False",
		"FileName0": "Übersicht ../../x.pdf", "FileType0": "application", "FileSubtype0": "pdf", "FileIsInline0": "False", "FileIsSupplemental0": "False", "Temp0": "True",
		"FileType1": "text", "FileSubtype1": "plain", "FileCharset1": "us-ascii", "FileIsInline1": "True",
		"FileType2": "image", "FileSubtype2": "png", "FileIsInline2": "True",
		"FileName3": "OriginalMessageText.txt", "FileIsSupplemental3": "True", "FileCharset3": "utf-8",
		"SiebelChannelProfile": "desk",
	} {
		assert.Equal(t, want, strings.TrimRight(f[name], "\r\n"), name)
	}
	assert.NotContains(t, f, "FileName4")
	require.Len(t, ev.Files, 4)
	assert.Equal(t, "hello", content(t, ev.Files[0].Path))
	for _, file := range ev.Files {
		assert.True(t, filepath.IsAbs(file.Path))
		assert.Equal(t, filepath.Dir(ev.RawFile), filepath.Dir(file.Path), "A32: a name from outside never becomes a path")
	}
	assert.Regexp(t, `^ATT(_[0-9a-f]+){7}\.dat$`, filepath.Base(ev.Files[0].Path))
	assert.Regexp(t, `^OriginalMessageText(_[0-9a-f]+){7}\.txt$`, filepath.Base(ev.Files[3].Path))
	assert.Regexp(t, `^POP3(_[0-9a-f]+){6}\.tmp$`, filepath.Base(ev.RawFile))
	for i, file := range ev.Files {
		assert.Equal(t, "FilePath"+string(rune('0'+i))+"|"+file.Path, f["LocalFileToGlobal"+string(rune('0'+i))])
	}
	assert.Equal(t, "OrigMsgFile|"+f["OrigMsgFile"], f["LocalFileToGlobal4"])
	orig := content(t, f["OrigMsgFile"])
	assert.Contains(t, orig, "Subject: RE: Rückfrage\n")
	assert.Contains(t, orig, "\n\nGrüße")
	assert.Contains(t, orig, "a second text")
	assert.NotContains(t, orig, "<p>")
	assert.NotContains(t, orig, "\r")
}

func TestFieldsOfABareMail(t *testing.T) {
	ev, f := one(t, "\n")
	assert.Equal(t, "0", f["Attachments"])
	assert.Equal(t, "False", f["HasAttach"])
	assert.Equal(t, "3", f["Priority"])
	assert.Equal(t, "", f["Sent"])
	assert.Equal(t, "<"+ev.ID+"@maildriver.invalid>", f["Message-ID"])
	assert.True(t, ev.GeneratedMessageID)
	assert.Empty(t, ev.Reply().InReplyTo, "nobody knows a generated id")
}

const embedded = `From: a@example.com
Subject: fwd
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=o

--o

see below
--o
Content-Type: message/rfc822

From: inner@example.com
Subject: =?utf-8?q?inn=C3=A9r?= <&>
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=i

--i

inner text & <more>
--i
Content-Type: application/zip; name=z.zip

ZIP
--i--
--o--
`

func TestEmbeddedMessageBecomesXML(t *testing.T) {
	ev, f := one(t, embedded)
	assert.Equal(t, "EmbeddedMsg1.xml", f["FileName0"])
	assert.Equal(t, "z.zip", f["FileName1"])
	assert.Equal(t, "see below", strings.TrimSpace(ev.Text))
	x := content(t, ev.Files[0].Path)
	assert.Contains(t, x, `<Field Name="Subject">innér &lt;&amp;&gt;</Field>`)
	assert.Contains(t, x, "inner text &amp; &lt;more&gt;")
	assert.NotContains(t, content(t, ev.OriginalTextFile()), "inner text")
}

func TestEmbeddedMessageStaysWhole(t *testing.T) {
	ev, f := one(t, embedded, driver.WithParseEmbedded(false))
	assert.Equal(t, "EmbeddedMsg1.eml", f["FileName0"])
	assert.Equal(t, "1", f["Attachments"])
	eml := content(t, ev.Files[0].Path)
	assert.True(t, strings.HasPrefix(eml, "From: inner@example.com\r\n"), eml)
	assert.Contains(t, eml, "--i--")
	assert.NotContains(t, eml, "--o")
}

const bounce = `From: MAILER-DAEMON@example.com
Subject: Undelivered
Content-Type: multipart/report; report-type=delivery-status; boundary=r

--r

sorry
--r
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example.com
Original-Envelope-Id: job+2B7

Final-Recipient: rfc822; ok@example.com
Action: delivered
Status: 2.0.0

Final-Recipient: rfc822; Gone@example.com
Action: failed (bad mailbox)
Status: 5.1.1

--r--
`

func TestFieldsOfABounce(t *testing.T) {
	_, f := one(t, bounce)
	assert.Equal(t, "True", f["IsDeliveryStatusNotification"])
	assert.Equal(t, "failed", f["DsnAction"])
	assert.Equal(t, "5.1.1", f["DsnStatus"])
	assert.Equal(t, "Gone@example.com", f["DsnFinalRecipient"])
	assert.Equal(t, "job+7", f["DsnOriginalEnvelopeId"])
	assert.Contains(t, f["DsnContent"], "Reporting-MTA: dns; mx.example.com")
}

func TestHTMLOnlyMail(t *testing.T) {
	raw := "Content-Type: text/html; charset=utf-8\n\n<p>one</p><p>two</p>\n"
	_, f := one(t, raw)
	assert.Equal(t, "", f["TextNote"])
	assert.Contains(t, f["HTMLBody"], "<p>one</p>")
	assert.Equal(t, "0", f["Attachments"])
	_, f = one(t, raw, driver.WithConvertToPlainText(true))
	assert.Contains(t, f["TextNote"], "one")
	assert.NotContains(t, f["TextNote"], "<p>")
	assert.Equal(t, "", f["HTMLBody"])
}

func TestNamedHTMLIsNoBody(t *testing.T) {
	_, f := one(t, "Content-Type: text/html; name=page.html\n\n<p>x</p>\n")
	assert.Equal(t, "", f["HTMLBody"])
	assert.Equal(t, "page.html", f["FileName0"])
}

func TestLongBodiesAreCutAndStillWhole(t *testing.T) {
	body := strings.Repeat("ü", 1000)
	ev, _ := one(t, "Content-Type: text/plain; charset=utf-8\n\n"+body+"\n", driver.WithMaxBodyBytes(101))
	assert.True(t, ev.TextTruncated)
	assert.Equal(t, strings.Repeat("ü", 50), ev.Text, "cut at a character")
	assert.Contains(t, content(t, ev.OriginalTextFile()), body)

	ev, f := one(t, "Content-Type: text/html; charset=iso-8859-1\n\n"+strings.Repeat("\xfc", 1000)+"\n", driver.WithMaxBodyBytes(101))
	assert.True(t, ev.HTMLTruncated)
	assert.Equal(t, "1", f["Attachments"])
	assert.Contains(t, content(t, ev.Files[0].Path), body)
	assert.Equal(t, "utf-8", f["FileCharset0"])
}

func TestReturnAttachmentsFalseMakesNoFiles(t *testing.T) {
	ev, f := one(t, rich, driver.WithReturnAttachments(false))
	assert.Equal(t, "0", f["Attachments"])
	assert.Len(t, ev.Files, 1)
}

func TestPriority(t *testing.T) {
	for header, want := range map[string]string{
		"X-Priority: 5": "5", "X-Priority: 0": "3", "X-Priority: 9": "3", "X-Priority: soon": "3",
		"X-MSMail-Priority: High": "1", "X-MSMail-Priority: Normal": "3", "X-MSMail-Priority: low": "5",
		"X-Priority: 2\nX-MSMail-Priority: Low": "2", "Importance: high": "3",
	} {
		_, f := one(t, header+"\n\nx\n")
		assert.Equal(t, want, f["Priority"], header)
	}
}

func TestReplies(t *testing.T) {
	ev, _ := one(t, rich)
	r := ev.Reply()
	assert.Equal(t, "desk@example.com", r.From.Addr)
	assert.Equal(t, []mime.Address{{Name: "Help; Desk", Addr: "help@smith.net"}, {Addr: "second@smith.net"}}, r.To)
	assert.Equal(t, "RE: Rückfrage", r.Subject, "not doubled")
	assert.Equal(t, []string{"m1@smith.net"}, r.InReplyTo)
	assert.Equal(t, []string{"r1@example.com", "m0@example.com", "m1@smith.net"}, r.References)
	assert.Empty(t, r.Attachments)

	all := ev.ReplyAll()
	assert.Equal(t, []mime.Address{{Name: "Jürgen", Addr: "j@example.com"}, {Addr: "c@example.com"}}, all.Cc, "not the desk itself")

	fwd := ev.Forward(mime.Address{Addr: "boss@example.com"})
	assert.Equal(t, "Fwd: RE: Rückfrage", fwd.Subject)
	var names []string
	for _, a := range fwd.Attachments {
		names = append(names, a.Name)
	}
	assert.Equal(t, []string{"Übersicht ../../x.pdf", ev.Files[2].Name}, names, "files that the driver made stay here")
}

// TestRepliesSkipEmptyAddresses: a null Reply-To is none.
func TestRepliesSkipEmptyAddresses(t *testing.T) {
	for field, want := range map[string][]mime.Address{
		"<>":                         {{Addr: "s@example.org"}},
		"undisclosed-recipients:;":   {{Addr: "s@example.org"}},
		"Nobody <>, h@example.org":   {{Addr: "h@example.org"}},
		"Team: <>, t@example.org, ;": {{Addr: "t@example.org", Group: "Team"}},
	} {
		ev, _ := one(t, "From: s@example.org\nReply-To: "+field+"\nSubject: x\n\nhi\n")
		for _, d := range []*mime.Draft{ev.Reply(), ev.ReplyAll()} {
			assert.Equal(t, want, d.To, field)
			_, err := d.Compose()
			require.NoError(t, err, field)
		}
	}
	ev := &driver.Event{ReplyTo: []mime.Address{{Name: "Nobody"}}, Sender: mime.Address{Addr: "s@example.org"}}
	assert.Equal(t, []mime.Address{{Addr: "s@example.org"}}, ev.Reply().To)
}

// TestForwardOfCutBodies has a forward hold all of the mail, and not the header
// that the original text file has.
func TestForwardOfCutBodies(t *testing.T) {
	long := strings.Repeat("ü", 5000)
	const alternative = "From: a@example.org\nX-Secret: " + "route\nContent-Type: multipart/alternative; boundary=b\n\n" +
		"--b\nContent-Type: text/plain; charset=utf-8\n\n%s\n\nend\n--b\nContent-Type: text/html; charset=utf-8\n\n<p>%s</p>\n--b--\n"
	for _, tt := range []struct {
		name, text, html string
		opts             []driver.Option
		want             []string // names and types
		has              []string // what each ends with
	}{
		{"neither", "short", "short", nil, nil, nil},
		{"text", long, "short", nil, []string{"MessageText.txt text/plain; charset=utf-8"}, []string{long + "\n\nend"}},
		{"HTML", "short", long, nil, []string{"* text/html; charset=utf-8"}, []string{"<p>" + long + "</p>"}},
		{"both", long, long, nil, []string{"* text/html; charset=utf-8", "MessageText.txt text/plain; charset=utf-8"}, []string{"<p>" + long + "</p>", long + "\n\nend"}},
		{"HTML that is not wanted", "short", long, []driver.Option{driver.WithConvertToPlainText(true)}, nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ev, _ := one(t, fmt.Sprintf(alternative, tt.text, tt.html), append(tt.opts, driver.WithMaxBodyBytes(1001))...)
			d := ev.Forward(mime.Address{Addr: "boss@example.org"})
			require.Len(t, d.Attachments, len(tt.want))
			for i, a := range d.Attachments {
				name, typ, _ := strings.Cut(tt.want[i], " ")
				assert.Equal(t, typ, a.Type)
				if name != "*" {
					assert.Equal(t, name, a.Name)
				}
				got := slurp(t, a.Open)
				assert.Equal(t, tt.has[i], strings.TrimRight(strings.ReplaceAll(got, "\r\n", "\n"), "\n"))
			}
			_, err := d.Compose()
			require.NoError(t, err)
		})
	}
	ev, _ := one(t, "Content-Type: text/html; charset=utf-8\n\n<p>"+long+"\n", driver.WithMaxBodyBytes(1001), driver.WithConvertToPlainText(true))
	require.True(t, ev.TextTruncated)
	d := ev.Forward(mime.Address{Addr: "boss@example.org"})
	require.Len(t, d.Attachments, 1, "the HTML that the text was made of")
	assert.Contains(t, slurp(t, d.Attachments[0].Open), long)
}

func TestA49AutomaticReplies(t *testing.T) {
	for header, want := range map[string]error{
		"From: a@example.com":                               nil,
		"From: a@example.com\nAuto-Submitted: no":           nil,
		"Subject: x":                                        driver.ErrNoSender,
		"From: a@example.com\nReturn-Path: <>":              driver.ErrNotification,
		"From: a@example.com\nAuto-Submitted: auto-replied": driver.ErrAutoSubmitted,
		"From: a@example.com\nList-Id: <l.example.com>":     driver.ErrMailingList,
		"From: a@example.com\nPrecedence: bulk":             driver.ErrMailingList,
		"From: Desk@example.com":                            driver.ErrOwnAddress,
	} {
		ev, _ := one(t, header+"\n\nx\n")
		assert.Equal(t, want, ev.MayAutoReply(), header)
	}
}
