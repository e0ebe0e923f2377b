package gssapi

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jcmturner/gofork/encoding/asn1"
	"github.com/jcmturner/gokrb5/v8/asn1tools"
	"github.com/jcmturner/gokrb5/v8/crypto"
	"github.com/jcmturner/gokrb5/v8/iana/errorcode"
	"github.com/jcmturner/gokrb5/v8/iana/keyusage"
	"github.com/jcmturner/gokrb5/v8/iana/msgtype"
	"github.com/jcmturner/gokrb5/v8/iana/nametype"
	"github.com/jcmturner/gokrb5/v8/iana/patype"
	"github.com/jcmturner/gokrb5/v8/keytab"
	"github.com/jcmturner/gokrb5/v8/messages"
	"github.com/jcmturner/gokrb5/v8/types"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
)

const (
	testUser     = "alice"
	testPassword = "alice-secret"
	testRealm    = "A.EXAMPLE"
	aes256       = 18
)

// testConf has two realms, the first with two KDCs.
const testConf = `
[libdefaults]
  default_realm = A.EXAMPLE
[realms]
  A.EXAMPLE = {
    kdc = kdc1.a.example
    kdc = kdc2.a.example:88
  }
  B.EXAMPLE = {
    kdc = kdc.b.example:88
  }
  C.EXAMPLE = {
    kdc = kdc.c.example:88
  }
[domain_realm]
  .known.example = B.EXAMPLE
`

// A fakeKDC answers for all realms of testConf, reached through net.Pipe. Its
// fields are set before use.
type fakeKDC struct {
	t        testing.TB
	preauth  bool
	params   []byte            // string-to-key parameters in ETYPE-INFO2
	etypes   []int32           // in ETYPE-INFO2
	life     time.Duration     // of tickets
	renew    time.Duration     // renewable for so long; 0: not
	refer    map[string]string // from realm or service to realm
	services []string
	byName   map[string]string // addr: "dead", "mute", "garbage"...

	refuseTGS           []int32 // codes of the next answers
	tamperAS, tamperTGS func(enc *messages.EncKDCRepPart)
	raw                 func(answer []byte) []byte

	mu    sync.Mutex
	asked []string // what came
	keys  *keytab.Keytab
	wg    sync.WaitGroup
}

var testServices = []string{"imap/mail.a.example", "smtp/mail.a.example", "HTTP/mail.a.example", "imap/mail.b.example", "imap/mail.known.example"}

// testKeys are everybody's, in all realms. A realm's krbtgt has one key wherever
// it is asked for: that is what makes cross-realm tickets. Only the user's is
// made of a password, for that takes a while.
var testKeys = sync.OnceValue(func() *keytab.Keytab {
	keys := keytab.New()
	if err := keys.AddEntry(testUser, testRealm, testPassword, time.Unix(1e9, 0), 1, aes256); err != nil {
		panic(err)
	}
	for _, name := range append([]string{"krbtgt/A.EXAMPLE", "krbtgt/B.EXAMPLE", "krbtgt/C.EXAMPLE", "krbtgt/D.EXAMPLE"}, testServices...) {
		for _, realm := range []string{"A.EXAMPLE", "B.EXAMPLE", "C.EXAMPLE"} {
			e := keys.Entries[0] // its type has no name
			e.Principal.Realm = realm
			e.Principal.Components = strings.Split(name, "/")
			e.Principal.NumComponents = int16(len(e.Principal.Components))
			sum := sha256.Sum256([]byte(name))
			e.Key.KeyValue = sum[:]
			keys.Entries = append(keys.Entries, e)
		}
	}
	return keys
})

func newKDC(t testing.TB) *fakeKDC {
	k := &fakeKDC{
		t: t, preauth: true, life: 10 * time.Hour, etypes: []int32{aes256},
		services: testServices, refer: map[string]string{}, byName: map[string]string{},
	}
	k.keys = testKeys()
	t.Cleanup(k.wg.Wait)
	return k
}

func (k *fakeKDC) count(prefix string) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := 0
	for _, a := range k.asked {
		if strings.HasPrefix(a, prefix) {
			n++
		}
	}
	return n
}

func (k *fakeKDC) note(format string, args ...any) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.asked = append(k.asked, fmt.Sprintf(format, args...))
}

func (k *fakeKDC) dial(_ context.Context, _, addr string) (net.Conn, error) {
	host, _, _ := strings.Cut(addr, ":")
	how := k.byName[host]
	k.note("dial %s", host)
	if how == "dead" {
		return nil, &net.OpError{Op: "dial", Err: fmt.Errorf("connection refused")}
	}
	ours, theirs := net.Pipe()
	k.wg.Go(func() {
		defer func() { _ = theirs.Close() }()
		var head [4]byte
		if _, err := io.ReadFull(theirs, head[:]); err != nil {
			return
		}
		req := make([]byte, binary.BigEndian.Uint32(head[:]))
		if _, err := io.ReadFull(theirs, req); err != nil {
			return
		}
		switch how {
		case "mute":
			_, _ = theirs.Read(head[:]) // until the client goes
			return
		case "close":
			return
		case "huge":
			_, _ = theirs.Write([]byte{0x7F, 0xFF, 0xFF, 0xFF})
			return
		case "cut":
			_, _ = theirs.Write([]byte{0, 0, 1, 0, 'x'})
			return
		}
		answer := k.answer(req)
		switch how {
		case "garbage":
			answer = []byte("garbage")
		case "empty":
			answer = nil
		case "busy":
			answer = k.refuse(errorcode.KDC_ERR_SVC_UNAVAILABLE, nil)
		}
		if k.raw != nil {
			answer = k.raw(answer)
		}
		_, _ = theirs.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(answer))), answer...))
	})
	return ours, nil
}

func (k *fakeKDC) must(err error) {
	if err != nil {
		panic(err) // in a goroutine of its own
	}
}

func (k *fakeKDC) refuse(code int32, edata []byte) []byte {
	e := messages.NewKRBError(tgtName(testRealm), testRealm, code, "the fake says so")
	e.EData = edata
	b, err := e.Marshal()
	k.must(err)
	return b
}

func (k *fakeKDC) answer(req []byte) []byte {
	var as messages.ASReq
	if as.Unmarshal(req) == nil {
		return k.as(&as)
	}
	var tgs messages.TGSReq
	k.must(tgs.Unmarshal(req))
	return k.tgs(&tgs)
}

func (k *fakeKDC) info(cname types.PrincipalName, realm string) types.PAData {
	var list types.ETypeInfo2
	for _, et := range k.etypes {
		list = append(list, types.ETypeInfo2Entry{EType: et, Salt: cname.GetSalt(realm), S2KParams: k.params})
	}
	b, err := asn1.Marshal(list)
	k.must(err)
	return types.PAData{PADataType: patype.PA_ETYPE_INFO2, PADataValue: b}
}

func (k *fakeKDC) as(req *messages.ASReq) []byte {
	body := req.ReqBody
	k.note("AS %s", body.CName.PrincipalNameString())
	key, _, err := k.keys.GetEncryptionKey(body.CName, body.Realm, 1, aes256)
	if err != nil {
		return k.refuse(errorcode.KDC_ERR_C_PRINCIPAL_UNKNOWN, nil)
	}
	if k.preauth {
		i := slices.IndexFunc(req.PAData, func(p types.PAData) bool { return p.PADataType == patype.PA_ENC_TIMESTAMP })
		if i < 0 {
			b, err := asn1.Marshal(types.PADataSequence{{PADataType: patype.PA_ENC_TIMESTAMP}, k.info(body.CName, body.Realm)})
			k.must(err)
			return k.refuse(errorcode.KDC_ERR_PREAUTH_REQUIRED, b)
		}
		var ed types.EncryptedData
		k.must(ed.Unmarshal(req.PAData[i].PADataValue))
		plain, err := crypto.DecryptEncPart(ed, key, keyusage.AS_REQ_PA_ENC_TIMESTAMP)
		if err != nil {
			return k.refuse(errorcode.KDC_ERR_PREAUTH_FAILED, nil)
		}
		var ts types.PAEncTSEnc
		k.must(ts.Unmarshal(plain))
		if d := time.Since(ts.PATimestamp); d > 5*time.Minute || d < -5*time.Minute {
			return k.refuse(errorcode.KRB_AP_ERR_SKEW, nil)
		}
	}
	rep := messages.ASRep{KDCRepFields: k.reply(msgtype.KRB_AS_REP, body, body.CName, body.Realm, key, keyusage.AS_REP_ENCPART, k.tamperAS)}
	rep.PAData = types.PADataSequence{k.info(body.CName, body.Realm)}
	b, err := rep.Marshal()
	k.must(err)
	return b
}

func (k *fakeKDC) reply(kind int, body messages.KDCReqBody, cname types.PrincipalName, crealm string, key types.EncryptionKey, usage uint32, tamper func(*messages.EncKDCRepPart)) messages.KDCRepFields {
	now := time.Now().UTC().Truncate(time.Second)
	renew := time.Time{}
	if k.renew != 0 {
		renew = now.Add(k.renew)
	}
	t, session, err := messages.NewTicket(cname, crealm, body.SName, body.Realm, types.NewKrbFlags(), k.keys, aes256, 1, now, now, now.Add(k.life), renew)
	k.must(err)
	enc := messages.EncKDCRepPart{
		Key: session, LastReqs: []messages.LastReq{}, Nonce: body.Nonce, Flags: types.NewKrbFlags(),
		AuthTime: now, StartTime: now, EndTime: now.Add(k.life), RenewTill: renew, SRealm: body.Realm, SName: body.SName,
	}
	if tamper != nil {
		tamper(&enc)
	}
	b, err := enc.Marshal()
	k.must(err)
	ed, err := crypto.GetEncryptedData(b, key, usage, 1)
	k.must(err)
	return messages.KDCRepFields{PVNO: 5, MsgType: kind, CRealm: crealm, CName: cname, Ticket: t, EncPart: ed}
}

func (k *fakeKDC) tgs(req *messages.TGSReq) []byte {
	body := req.ReqBody
	name := body.SName.PrincipalNameString()
	k.note("TGS %s@%s", name, body.Realm)
	var ap messages.APReq
	k.must(ap.Unmarshal(req.PAData[0].PADataValue))
	k.must(ap.Ticket.DecryptEncPart(k.keys, &ap.Ticket.SName))
	session := ap.Ticket.DecryptedEncPart.Key
	k.must(ap.DecryptAuthenticator(session))
	if len(k.refuseTGS) > 0 {
		code := k.refuseTGS[0]
		k.refuseTGS = k.refuseTGS[1:]
		return k.refuse(code, nil)
	}
	to, referred := k.refer[name+"@"+body.Realm]
	switch {
	case referred:
		body.SName = tgtName(to)
	case body.SName.NameString[0] != krbtgt && !slices.Contains(k.services, name), name == "krbtgt/Z.EXAMPLE":
		return k.refuse(errorcode.KDC_ERR_S_PRINCIPAL_UNKNOWN, nil)
	}
	rep := messages.TGSRep{KDCRepFields: k.reply(msgtype.KRB_TGS_REP, body, ap.Ticket.DecryptedEncPart.CName, ap.Ticket.DecryptedEncPart.CRealm,
		session, keyusage.TGS_REP_ENCPART_SESSION_KEY, k.tamperTGS)}
	b, err := rep.Marshal()
	k.must(err)
	return b
}

// client logs in to the fake.
func (k *fakeKDC) client(cred Credentials) *Client {
	k.t.Helper()
	c, err := New(cred, WithConfig(testConf), WithDial(k.dial))
	require.NoError(k.t, err)
	return c
}

func right() Credentials { return Password(testUser, driver.NewSecret(testPassword)) }

// An acceptor is the server's side of a context, with its own key.
type acceptor struct {
	keys   *keytab.Keytab
	subkey bool // give one of its own
	bind   string

	key     types.EncryptionKey
	flags   byte
	seq     int64
	theirs  uint64
	mutate  func(*messages.EncAPRepPart)
	wrongBy bool // answer with another key
	seen    messages.APReq
}

// accept takes an AP-REQ in its frame and answers with an AP-REP in one.
func (a *acceptor) accept(token []byte) ([]byte, error) {
	oid, body, err := unframe(token)
	if err != nil || !oid.Equal(oidKerberos) || string(body[:2]) != tokAPReq {
		return nil, fmt.Errorf("not an AP-REQ: %w", err)
	}
	var req messages.APReq
	if err := req.Unmarshal(body[2:]); err != nil {
		return nil, err
	}
	if ok, err := req.Verify(a.keys, 5*time.Minute, types.HostAddress{}, nil); !ok {
		return nil, err
	}
	a.seen = req
	if got := hex.EncodeToString(req.Authenticator.Cksum.Checksum); got != a.bind {
		return nil, fmt.Errorf("the checksum is %s", got)
	}
	session := req.Ticket.DecryptedEncPart.Key
	a.key, a.theirs, a.seq = req.Authenticator.SubKey, uint64(req.Authenticator.SeqNumber), 1<<31+7
	enc := messages.EncAPRepPart{CTime: req.Authenticator.CTime, Cusec: req.Authenticator.Cusec, SequenceNumber: a.seq}
	a.flags = fromAcceptor
	if a.subkey {
		et, _ := crypto.GetEtype(session.KeyType)
		a.key, _ = types.GenerateEncryptionKey(et)
		enc.Subkey = a.key
		a.flags |= acceptorSubkey
	}
	if a.mutate != nil {
		a.mutate(&enc)
	}
	b, err := asn1.Marshal(enc)
	if err != nil {
		return nil, err
	}
	if a.wrongBy {
		session.KeyValue = append([]byte{1}, session.KeyValue[1:]...)
	}
	ed, err := crypto.GetEncryptedData(asn1tools.AddASNAppTag(b, 27), session, keyusage.AP_REP_ENCPART, 0)
	if err != nil {
		return nil, err
	}
	if b, err = asn1.Marshal(messages.APRep{PVNO: 5, MsgType: msgtype.KRB_AP_REP, EncPart: ed}); err != nil {
		return nil, err
	}
	return frame(oidKerberos, append([]byte(tokAPRep), asn1tools.AddASNAppTag(b, 15)...))
}

// krbError is a KRB-ERROR in a context token.
func krbError(code int32) []byte {
	e := messages.NewKRBError(types.NewPrincipalName(nametype.KRB_NT_SRV_HST, "imap/mail.a.example"), testRealm, code, "")
	b, err := e.Marshal()
	if err != nil {
		panic(err)
	}
	token, err := frame(oidKerberos, append([]byte(tokError), b...))
	if err != nil {
		panic(err)
	}
	return token
}

// noBinding is the authenticator's checksum without channel bindings: sixteen,
// as many zeros, and the flags mutual, replay, sequence, integrity.
const noBinding = "10000000" + "00000000000000000000000000000000" + "2e000000"
