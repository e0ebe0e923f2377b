package pop3

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/maildriver/maildriver/driver"
)

func TestReplyError(t *testing.T) {
	for _, c := range []struct {
		name, command, text string
		code, rest          string
		kind                driver.Kind
	}{
		{"F21 locked by another session", "PASS", "[IN-USE] Mailbox is locked", "IN-USE", "Mailbox is locked", driver.KindTemporary},
		{"F21 system trouble", "PASS", "[SYS/TEMP] try later", "SYS/TEMP", "try later", driver.KindTemporary},
		{"F21 login delay", "AUTH", "[LOGIN-DELAY] too often", "LOGIN-DELAY", "too often", driver.KindTemporary},
		{"F21 lock in the words of RFC 1939", "PASS", "maildrop already locked", "", "maildrop already locked", driver.KindTemporary},
		{"F21 lock, the other way round", "APOP", "unable to lock maildrop", "", "unable to lock maildrop", driver.KindTemporary},
		{"F21 busy", "PASS", "Mailbox busy", "", "Mailbox busy", driver.KindTemporary},
		{"F21 at the greeting", "greeting", "[SYS/TEMP] overloaded", "SYS/TEMP", "overloaded", driver.KindTemporary},
		{"greeting without a code", "greeting", "too many connections", "", "too many connections", driver.KindTemporary},
		{"F22 wrong password", "PASS", "[AUTH] no", "AUTH", "no", driver.KindAuth},
		{"F22 code in lower case", "PASS", "[auth] no", "AUTH", "no", driver.KindAuth},
		{"F22 without a code", "PASS", "invalid password", "", "invalid password", driver.KindAuth},
		{"F22 account locked", "AUTH", "account locked", "", "account locked", driver.KindAuth},
		{"F22 no such user", "USER", "sorry", "", "sorry", driver.KindAuth},
		{"needs an administrator", "PASS", "[SYS/PERM] no such maildrop", "SYS/PERM", "no such maildrop", driver.KindPermanent},
		{"unknown code", "PASS", "[FOO-BAR] text", "FOO-BAR", "text", driver.KindTemporary},
		{"not a code", "STAT", "[not a code] text", "", "[not a code] text", driver.KindTemporary},
		{"code not closed", "STAT", "[AUTH text", "", "[AUTH text", driver.KindTemporary},
		{"nothing", "QUIT", "", "", "", driver.KindTemporary},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := newReplyError(c.command, c.text)
			assert.Equal(t, c.code, e.Code)
			assert.Equal(t, c.rest, e.Text)
			assert.Equal(t, c.kind, e.kindOf())
			assert.True(t, strings.HasPrefix(e.Error(), c.command+": -ERR"), e.Error())
		})
	}
}

func TestA08ReplyTextIsEscapedAndShort(t *testing.T) {
	e := newReplyError("PASS", "[AUTH] \x1b[2J\u202e evil\x00 "+strings.Repeat("x", 4000))
	text := e.Error()
	assert.NotContains(t, text, "\x1b")
	assert.NotContains(t, text, "\u202e")
	assert.NotContains(t, text, "\x00")
	assert.Less(t, len(text), 400)
	assert.LessOrEqual(t, len(e.Text), maxText)
}

func FuzzReplyError(f *testing.F) {
	f.Add("[IN-USE] locked")
	f.Add("[] [ ]")
	f.Fuzz(func(t *testing.T, text string) {
		e := newReplyError("PASS", text)
		assert.LessOrEqual(t, len(e.Error()), 4*maxText)
		assert.NotEqual(t, driver.KindUnknown, e.kindOf())
		assert.NotContains(t, e.Error(), "\n")
	})
}
