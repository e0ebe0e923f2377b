package gssapi

import (
	"crypto/md5" //nolint:gosec // as in RFC 4121
	"encoding/asn1"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"testing"
	"time"

	"github.com/jcmturner/gokrb5/v8/config"
	"github.com/jcmturner/gokrb5/v8/crypto"
	"github.com/jcmturner/gokrb5/v8/gssapi"
	"github.com/jcmturner/gokrb5/v8/iana/errorcode"
	"github.com/jcmturner/gokrb5/v8/iana/keyusage"
	"github.com/jcmturner/gokrb5/v8/messages"
	"github.com/jcmturner/gokrb5/v8/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
)

// begin starts a context with a service of the fake and returns its first token.
func begin(t *testing.T, c *Client, service string, binding []byte) (driver.SecurityContext, []byte) {
	t.Helper()
	sc, err := c.Start(t.Context(), service, "Mail.A.example.", binding)
	require.NoError(t, err)
	out, done, err := sc.Step(nil)
	require.NoError(t, err)
	require.False(t, done)
	return sc, out
}

// The whole of a SASL login against an acceptor built on gokrb5's own tokens:
// the server's offer, the client's choice.
func TestContext(t *testing.T) {
	for _, subkey := range []bool{false, true} {
		k := newKDC(t)
		sc, token := begin(t, k.client(right()), "imap", nil)
		a := &acceptor{keys: k.keys, subkey: subkey, bind: noBinding}
		answer, err := a.accept(token)
		require.NoError(t, err)
		assert.Equal(t, byte(0x20), a.seen.APOptions.Bytes[0], "mutual authentication is asked for")
		out, done, err := sc.Step(answer)
		require.NoError(t, err)
		assert.True(t, done)
		assert.Empty(t, out)

		offer := []byte{7, 0, 16, 0}
		for i := range uint64(3) {
			wt := gssapi.WrapToken{Flags: a.flags, EC: 12, SndSeqNum: uint64(a.seq) + i, Payload: offer}
			require.NoError(t, wt.SetCheckSum(a.key, keyusage.GSSAPI_ACCEPTOR_SEAL))
			b, err := wt.Marshal()
			require.NoError(t, err)
			got, err := sc.Unwrap(b)
			require.NoError(t, err)
			assert.Equal(t, offer, got)

			choice := append([]byte{1, 0, 0, 0}, "alice"...)
			w, err := sc.Wrap(choice)
			require.NoError(t, err)
			var back gssapi.WrapToken
			require.NoError(t, back.Unmarshal(w, false))
			assert.Equal(t, a.theirs+i, back.SndSeqNum)
			assert.Equal(t, a.flags&^fromAcceptor, back.Flags)
			assert.Equal(t, choice, back.Payload)
			ok, err := back.Verify(a.key, keyusage.GSSAPI_INITIATOR_SEAL)
			require.NoError(t, err)
			assert.True(t, ok)
		}
		_, _, err = sc.Step(answer)
		require.Error(t, err)
		require.NoError(t, sc.Close())
		_, err = sc.Wrap(offer)
		require.Error(t, err)
		_, err = sc.Unwrap(offer)
		require.Error(t, err)
		_, _, err = sc.Step(nil)
		require.Error(t, err)
	}
}

// The binding is MD5 over lengths and data as RFC 4121 section 4.1.1.2 has them.
func TestChannelBinding(t *testing.T) {
	data := []byte("tls-server-end-point:\x01\x02\x03")
	raw := make([]byte, 16)
	raw = append(raw, byte(len(data)), 0, 0, 0)
	sum := md5.Sum(append(raw, data...))
	k := newKDC(t)
	_, token := begin(t, k.client(right()), "imap", data)
	a := &acceptor{keys: k.keys, bind: "10000000" + hex.EncodeToString(sum[:]) + "2e000000"}
	_, err := a.accept(token)
	require.NoError(t, err)
	a.bind = noBinding
	_, err = a.accept(token)
	require.Error(t, err)
}

func TestServerDoesNotProveItself(t *testing.T) {
	for name, tt := range map[string]struct {
		a      acceptor
		answer func(good []byte) []byte // nil: as it is
		kind   driver.Kind
		is     error
	}{
		"another time":     {a: acceptor{mutate: func(e *messages.EncAPRepPart) { e.CTime = e.CTime.Add(time.Second) }}, is: ErrServer},
		"another fraction": {a: acceptor{mutate: func(e *messages.EncAPRepPart) { e.Cusec = (e.Cusec + 1) % 1_000_000 }}, is: ErrServer},
		"another key":      {a: acceptor{wrongBy: true}, is: ErrServer},
		"weak subkey":      {a: acceptor{mutate: func(e *messages.EncAPRepPart) { e.Subkey.KeyType, e.Subkey.KeyValue = 23, make([]byte, 16) }}, is: ErrServer},
		"nothing":          {answer: func([]byte) []byte { return nil }, is: ErrServer},
		"garbage":          {answer: func([]byte) []byte { return []byte("garbage") }, is: ErrServer},
		"cut":              {answer: func(b []byte) []byte { return b[:len(b)-1] }, is: ErrServer},
		"more behind":      {answer: func(b []byte) []byte { return append(b, 0) }, is: ErrServer},
		"altered":          {answer: func(b []byte) []byte { b[len(b)-1] ^= 1; return b }, is: ErrServer},
		"reflected": {answer: func([]byte) []byte {
			b, err := frame(oidKerberos, []byte(tokAPReq))
			require.NoError(t, err)
			return b
		}, is: ErrServer},
		"other mechanism": {answer: func([]byte) []byte {
			b, err := frame(asn1.ObjectIdentifier{1, 2, 3}, []byte(tokAPRep))
			require.NoError(t, err)
			return b
		}, is: ErrServer},
		"clock skew":      {answer: func([]byte) []byte { return krbError(errorcode.KRB_AP_ERR_SKEW) }, kind: driver.KindLocal, is: ErrClockSkew},
		"ticket expired":  {answer: func([]byte) []byte { return krbError(errorcode.KRB_AP_ERR_TKT_EXPIRED) }, is: ErrExpired},
		"key has changed": {answer: func([]byte) []byte { return krbError(errorcode.KRB_AP_ERR_MODIFIED) }},
		"replay":          {answer: func([]byte) []byte { return krbError(errorcode.KRB_AP_ERR_REPEAT) }, kind: driver.KindTemporary},
	} {
		t.Run(name, func(t *testing.T) {
			k := newKDC(t)
			c := k.client(right())
			sc, token := begin(t, c, "imap", nil)
			tt.a.keys, tt.a.bind = k.keys, noBinding
			answer, err := tt.a.accept(token)
			require.NoError(t, err)
			if tt.answer != nil {
				answer = tt.answer(answer)
			}
			_, done, err := sc.Step(answer)
			require.Error(t, err)
			assert.False(t, done)
			if tt.is != nil {
				require.ErrorIs(t, err, tt.is)
			}
			if tt.kind == 0 {
				tt.kind = driver.KindAuth
			}
			assert.Equal(t, tt.kind, driver.KindOf(err), "%v", err)
			e, ok := errors.AsType[*Error](err)
			require.True(t, ok)
			assert.Equal(t, StepContext, e.Step)
			assert.Equal(t, "imap/mail.a.example", e.Name)
			_, err = sc.Wrap([]byte("x"))
			require.Error(t, err, "nothing is wrapped for a server without proof")
			require.NoError(t, sc.Close())
			begin(t, c, "imap", nil)
			assert.Equal(t, 2, k.count("TGS imap"), "the next context has a fresh ticket")
		})
	}
}

// A server that refuses by its own protocol, without a token, is shown a fresh
// ticket next time.
func TestUnfinishedContextForgetsItsTicket(t *testing.T) {
	k := newKDC(t)
	c := k.client(right())
	for range 2 {
		sc, _ := begin(t, c, "imap", nil)
		require.NoError(t, sc.Close())
	}
	assert.Equal(t, 2, k.count("TGS imap"))
	assert.Equal(t, 2, k.count("AS"), "once without and once with the proof, for both")
}

func TestServerSpeaksFirst(t *testing.T) {
	k := newKDC(t)
	sc, err := k.client(right()).Start(t.Context(), "imap", "mail.a.example", nil)
	require.NoError(t, err)
	_, _, err = sc.Step([]byte("hello"))
	require.ErrorContains(t, err, "spoke first")
}

// Tokens of Windows are rotated, and some are encrypted.
func TestUnwrap(t *testing.T) {
	et, err := crypto.GetEtype(aes256)
	require.NoError(t, err)
	key, err := generateKey()
	require.NoError(t, err)
	const seq, flags = 9, fromAcceptor | acceptorSubkey
	message := []byte("a message of some length")
	plain, err := wrapToken(key, usageTheirs, flags, seq, message)
	require.NoError(t, err)
	seal := func(ec int) []byte {
		head := []byte{5, 4, flags | sealed, 0xFF, 0, byte(ec), 0, 0}
		head = binary.BigEndian.AppendUint64(head, seq)
		_, ct, err := et.EncryptMessage(key.KeyValue, append(append(append([]byte{}, message...), make([]byte, ec)...), head...), usageTheirs)
		require.NoError(t, err)
		return append(head, ct...)
	}
	rotate := func(token []byte, n int) []byte {
		b := append([]byte{}, token...)
		binary.BigEndian.PutUint16(b[6:], uint16(n))
		body := token[16:]
		for i := range body {
			b[16+(i+n)%len(body)] = body[i]
		}
		return b
	}
	edit := func(f func(b []byte)) []byte { b := append([]byte{}, plain...); f(b); return b }
	for name, tt := range map[string]struct {
		token []byte
		ok    bool
	}{
		"plain":            {plain, true},
		"rotated by 12":    {rotate(plain, 12), true},
		"rotated by 28":    {rotate(plain, 28), true},
		"rotated around":   {rotate(plain, len(plain)-16), true},
		"rotated by 65535": {rotate(plain, 65535), true},
		"sealed":           {seal(0), true},
		"sealed, filler":   {seal(16), true},
		"sealed, rotated":  {rotate(seal(0), 28), true},
		"empty":            {nil, false},
		"header only":      {plain[:16], false},
		"cut header":       {plain[:15], false},
		"cut":              {plain[:len(plain)-1], false},
		"MIC token":        {edit(func(b []byte) { b[0] = 4 }), false},
		"filler":           {edit(func(b []byte) { b[3] = 0 }), false},
		"reflected":        {edit(func(b []byte) { b[2] &^= fromAcceptor }), false},
		"other key":        {edit(func(b []byte) { b[2] &^= acceptorSubkey }), false},
		"claims sealed":    {edit(func(b []byte) { b[2] |= sealed }), false},
		"next in sequence": {edit(func(b []byte) { b[15]++ }), false},
		"no checksum":      {edit(func(b []byte) { b[5] = 0 }), false},
		"long checksum":    {edit(func(b []byte) { b[4] = 0xFF }), false},
		"altered":          {edit(func(b []byte) { b[16] ^= 1 }), false},
		"altered sum":      {edit(func(b []byte) { b[len(b)-1] ^= 1 }), false},
		"sealed, altered":  {func() []byte { b := seal(0); b[20] ^= 1; return b }(), false},
		"sealed, EC":       {func() []byte { b := seal(0); b[5] = 8; return b }(), false},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := unwrapToken(key, usageTheirs, flags, seq, tt.token)
			if tt.ok {
				require.NoError(t, err)
				assert.Equal(t, message, got)
				return
			}
			require.Error(t, err)
			assert.Nil(t, got)
		})
	}
}

func TestTokensNeedAES(t *testing.T) {
	key, err := generateKey()
	require.NoError(t, err)
	key.KeyType = 23
	_, err = wrapToken(key, usageOurs, 0, 0, []byte("x"))
	require.ErrorContains(t, err, "not AES")
	_, err = unwrapToken(key, usageOurs, 0, 0, make([]byte, 64))
	require.ErrorContains(t, err, "not AES")
	_, err = micToken(key, usageOurs, 0, 0, nil)
	require.ErrorContains(t, err, "not AES")
}

// Every type that is asked for, against gokrb5's own tokens.
func TestEncryptionTypes(t *testing.T) {
	conf := config.New().LibDefaults
	ids := strong(conf.DefaultTGSEnctypeIDs, conf.DefaultTGSEnctypeIDs)
	assert.Equal(t, []int32{18, 17, 20, 19}, ids)
	assert.Equal(t, []int32{17}, strong([]int32{23, 17, 16}, nil))
	for _, id := range ids {
		et, err := aes(id)
		require.NoError(t, err)
		key, err := types.GenerateEncryptionKey(et)
		require.NoError(t, err)
		b, err := wrapToken(key, usageOurs, acceptorSubkey, 5, []byte{1, 0, 0, 0})
		require.NoError(t, err)
		var w gssapi.WrapToken
		require.NoError(t, w.Unmarshal(b, false))
		assert.Equal(t, et.GetHMACBitLength()/8, int(w.EC))
		ok, err := w.Verify(key, keyusage.GSSAPI_INITIATOR_SEAL)
		require.NoError(t, err)
		assert.True(t, ok)
		got, err := unwrapToken(key, usageOurs, acceptorSubkey, 5, b)
		require.NoError(t, err)
		assert.Equal(t, []byte{1, 0, 0, 0}, got)
	}
}
