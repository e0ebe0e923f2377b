package imap

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
)

var utf7Names = []struct{ plain, coded string }{
	{"INBOX", "INBOX"},
	{"A & B", "A &- B"},
	{"&", "&-"},
	{"Entw\u00fcrfe", "Entw&APw-rfe"},
	{"\u53f0\u5317", "&U,BTFw-"},
	{"~peter/mail/\u53f0\u5317/\u65e5\u672c\u8a9e", "~peter/mail/&U,BTFw-/&ZeVnLIqe-"},
	{"\U0001F600!", "&2D3eAA-!"},
	{"a\u00e9\u00e8b", "a&AOkA6A-b"},
	{"", ""},
}

func TestUTF7(t *testing.T) {
	for _, c := range utf7Names {
		assert.Equal(t, c.coded, encodeUTF7(c.plain))
		got, err := decodeUTF7(c.coded)
		require.NoError(t, err, c.coded)
		assert.Equal(t, c.plain, got)
	}
	for _, bad := range []string{"&", "&AOk", "&AO-", "&!!!!-", "\u00e9", "&AGE-", "&2D0-", "a\x00", "&AOk-&AOg-", "&AOkB-"} {
		_, err := decodeUTF7(bad)
		require.ErrorIs(t, err, errUTF7, bad)
	}
}

func FuzzUTF7(f *testing.F) {
	for _, c := range utf7Names {
		f.Add(c.plain)
		f.Add(c.coded)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if plain, err := decodeUTF7(s); err == nil && encodeUTF7(plain) != s {
			t.Fatalf("%q is %q, which is %q", s, plain, encodeUTF7(plain))
		}
		if !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return r == utf8.RuneError || r < ' ' || r == 0x7f }) {
			return
		}
		if got, err := decodeUTF7(encodeUTF7(s)); err != nil || got != s {
			t.Fatalf("%q became %q, %v", s, got, err)
		}
	})
}

func TestUIDSet(t *testing.T) {
	for _, c := range []struct {
		uids []uint32
		set  string
	}{
		{[]uint32{1}, "1"}, {[]uint32{1, 2, 3}, "1:3"}, {[]uint32{1, 3, 4, 9}, "1,3:4,9"}, {[]uint32{4294967294, 4294967295}, "4294967294:4294967295"},
	} {
		assert.Equal(t, c.set, uidSet(c.uids))
		assert.Equal(t, c.set, numSet(c.uids).String())
		var back []uint32
		require.NoError(t, eachRange(c.set, func(a, b uint32) error {
			for u := uint64(a); u <= uint64(b); u++ {
				back = append(back, uint32(u))
			}
			return nil
		}))
		assert.Equal(t, c.uids, back)
	}
	for _, bad := range []string{"", "0", "a", "1,", "1:*", "4294967296", "-1", "1:2:3"} {
		require.ErrorIs(t, eachRange(bad, func(uint32, uint32) error { return nil }), errSet, bad)
	}
}

func TestIDs(t *testing.T) {
	assert.Equal(t, driver.ID("4294967295.7"), formatID(4294967295, 7))
	v, uid, ok := parseID("17.4294967295")
	assert.True(t, ok)
	assert.Equal(t, []uint32{17, 4294967295}, []uint32{v, uid})
	for _, bad := range []driver.ID{"", "1", "1.", ".1", "1.0", "1.4294967296", "a.b", "1.2.3", "1.2 "} {
		_, _, ok := parseID(bad)
		assert.False(t, ok, bad)
	}
	assert.Equal(t, "17", (&mailbox{}).Epoch("17.3"))
	assert.Empty(t, (&mailbox{}).Epoch("\x00hash"))
}

func TestLiteralSize(t *testing.T) {
	for _, c := range []struct {
		line, text string
		n          int64
		found, bad bool
	}{
		{"x {12}", "x ", 12, true, false},
		{"x ~{12}", "x ", 12, true, false},
		{"{0}", "", 0, true, false},
		{"x {3+}", "x ", 3, true, false},
		{"x", "x", 0, false, false},
		{"x}", "x}", 0, false, false},
		{"x {-1}", "", 0, false, true},
		{"{99999999999999999999}", "", 0, false, true},
		{"{9223372036854775807}", "", 0, false, true},
		{"{9223372036854775808}", "", 0, false, true},
		{"{}", "", 0, false, true},
		{"{+}", "", 0, false, true},
		{"{+5}", "", 0, false, true},
		{"{a}", "", 0, false, true},
	} {
		text, n, found, err := literalSize([]byte(c.line))
		if c.bad {
			require.Error(t, err, c.line)
			continue
		}
		require.NoError(t, err, c.line)
		assert.Equal(t, []any{c.text, c.n, c.found}, []any{string(text), n, found}, c.line)
	}
}

func TestCriteria(t *testing.T) {
	for _, good := range []string{"", "ALL", `FROM "a(b" NOT SEEN`, `OR (SEEN FLAGGED) (SUBJECT "\"{5}\"")`} {
		require.NoError(t, checkCriteria(good), good)
	}
	s := newSettings()
	assert.Empty(t, s.wanted())
	s.unseen, s.maxSize, s.criteria = true, 1000, "NOT FLAGGED"
	assert.Equal(t, "UNSEEN SMALLER 1001 (NOT FLAGGED)", s.wanted())
}
