package gssapi

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jcmturner/gofork/encoding/asn1"
	"github.com/jcmturner/gokrb5/v8/crypto"
	"github.com/jcmturner/gokrb5/v8/crypto/etype"
	"github.com/jcmturner/gokrb5/v8/iana/errorcode"
	"github.com/jcmturner/gokrb5/v8/iana/keyusage"
	"github.com/jcmturner/gokrb5/v8/iana/nametype"
	"github.com/jcmturner/gokrb5/v8/iana/patype"
	"github.com/jcmturner/gokrb5/v8/messages"
	"github.com/jcmturner/gokrb5/v8/types"

	"github.com/maildriver/maildriver/driver"
)

const krbtgt = "krbtgt"

func tgtName(realm string) types.PrincipalName {
	return types.PrincipalName{NameType: nametype.KRB_NT_SRV_INST, NameString: []string{krbtgt, realm}}
}

// login gets a ticket-granting ticket with the password or key (RFC 4120
// section 3.1).
func (c *Client) login(ctx context.Context) (*ticket, error) {
	cname, realm, err := c.principal(c.cred.principal)
	if err != nil {
		return nil, err
	}
	who := cname.PrincipalNameString() + "@" + realm
	key, err := c.key(ctx, cname, realm)
	if err != nil {
		return nil, err
	}
	req, err := messages.NewASReqForTGT(realm, c.conf, cname)
	if err != nil {
		return nil, fail(driver.KindLocal, StepLogin, who, err)
	}
	answer, err := c.askAS(ctx, &req, realm)
	if err != nil {
		return nil, err
	}
	k := asError(answer)
	if k != nil && k.ErrorCode == errorcode.KDC_ERR_PREAUTH_REQUIRED {
		pa, err := guard(func() (types.PAData, error) { return c.preauth(k, req.ReqBody.EType, key, cname, realm) })
		if err != nil {
			return nil, fail(driver.KindConfig, StepLogin, who, err)
		}
		req.PAData = types.PADataSequence{pa}
		if answer, err = c.askAS(ctx, &req, realm); err != nil {
			return nil, err
		}
		k = asError(answer)
	}
	if k != nil {
		return nil, kdcError(StepLogin, who, k)
	}
	t, err := guard(func() (*ticket, error) { return c.readAS(answer, &req, key) })
	if err != nil {
		return nil, asStep(StepLogin, who, err)
	}
	return t, nil
}

// asStep gives an error its place, unless it has one.
func asStep(step, name string, err error) error {
	if _, ok := errors.AsType[*driver.Error](err); ok {
		return err
	}
	kind := driver.KindProtocol
	switch {
	case errors.Is(err, ErrWrongPassword):
		kind = driver.KindAuth
	case errors.Is(err, ErrClockSkew):
		kind = driver.KindLocal
	}
	return fail(kind, step, name, err)
}

func (c *Client) askAS(ctx context.Context, req *messages.ASReq, realm string) ([]byte, error) {
	b, err := req.Marshal()
	if err != nil {
		return nil, fail(driver.KindLocal, StepLogin, realm, err)
	}
	return c.exchange(ctx, StepLogin, realm, b)
}

// secretInfo is what a KDC says about how it makes a user's key.
type secretInfo struct {
	et     etype.EType
	salt   string
	params []byte
}

// readInfo finds the first kind of key, in the KDC's order, that we asked for
// (RFC 4120 section 5.2.7.5). Without any it is want with the default salt.
func readInfo(pas types.PADataSequence, asked []int32, want int32, cname types.PrincipalName, realm string) (secretInfo, error) {
	salt := cname.GetSalt(realm)
	for _, pa := range pas {
		if pa.PADataType != patype.PA_ETYPE_INFO2 {
			continue
		}
		var list types.ETypeInfo2
		if err := list.Unmarshal(pa.PADataValue); err != nil {
			return secretInfo{}, errMalformed
		}
		for _, e := range list {
			if !slices.Contains(asked, e.EType) || want != 0 && e.EType != want {
				continue
			}
			et, err := aes(e.EType)
			if e.Salt != "" {
				salt = e.Salt
			}
			return secretInfo{et, salt, e.S2KParams}, err
		}
		return secretInfo{}, errors.New("no encryption type in common")
	}
	if want == 0 {
		want = asked[0]
	}
	if !slices.Contains(asked, want) {
		return secretInfo{}, errors.New("no encryption type in common")
	}
	et, err := aes(want)
	return secretInfo{et: et, salt: salt}, err
}

// preauth proves the key with an encrypted time stamp (RFC 4120 section
// 5.2.7.2), as the KDC demands.
func (c *Client) preauth(k *messages.KRBError, asked []int32, key keyFunc, cname types.PrincipalName, realm string) (types.PAData, error) {
	var pas types.PADataSequence
	if err := pas.Unmarshal(k.EData); err != nil {
		return types.PAData{}, errMalformed
	}
	if !pas.Contains(patype.PA_ENC_TIMESTAMP) {
		return types.PAData{}, errors.New("the KDC demands a way to log in that is not supported")
	}
	info, err := readInfo(pas, asked, 0, cname, realm)
	if err != nil {
		return types.PAData{}, err
	}
	secret, err := key(info.et, info.salt, info.params, 0)
	if err != nil {
		return types.PAData{}, err
	}
	now := c.stamp()
	plain, err := asn1.Marshal(types.PAEncTSEnc{PATimestamp: now, PAUSec: now.Nanosecond() / 1000})
	if err != nil {
		return types.PAData{}, err
	}
	enc, err := crypto.GetEncryptedData(plain, secret, keyusage.AS_REQ_PA_ENC_TIMESTAMP, 0)
	if err != nil {
		return types.PAData{}, err
	}
	value, err := enc.Marshal()
	return types.PAData{PADataType: patype.PA_ENC_TIMESTAMP, PADataValue: value}, err
}

// readAS checks the KDC's answer (RFC 4120 section 3.1.5).
func (c *Client) readAS(answer []byte, req *messages.ASReq, key keyFunc) (*ticket, error) {
	var rep messages.ASRep
	if err := rep.Unmarshal(answer); err != nil {
		return nil, errMalformed
	}
	if !rep.CName.Equal(req.ReqBody.CName) || rep.CRealm != req.ReqBody.Realm {
		return nil, fmt.Errorf("the answer is for %s", quote(rep.CName.PrincipalNameString()+"@"+rep.CRealm))
	}
	info, err := readInfo(rep.PAData, req.ReqBody.EType, rep.EncPart.EType, rep.CName, rep.CRealm)
	if err != nil {
		return nil, err
	}
	secret, err := key(info.et, info.salt, info.params, rep.EncPart.KVNO)
	if err != nil {
		return nil, err
	}
	plain, err := guard(func() ([]byte, error) {
		return crypto.DecryptEncPart(rep.EncPart, secret, keyusage.AS_REP_ENCPART)
	})
	if err != nil {
		return nil, ErrWrongPassword
	}
	enc := new(messages.EncKDCRepPart)
	if err := enc.Unmarshal(plain); err != nil {
		return nil, errMalformed
	}
	if !enc.SName.Equal(req.ReqBody.SName) || !rep.Ticket.SName.Equal(req.ReqBody.SName) || enc.SRealm != req.ReqBody.Realm {
		return nil, errors.New("the answer is for another service")
	}
	return c.newTicket(rep.CName, rep.CRealm, rep.Ticket, enc, req.ReqBody.Nonce, req.ReqBody.EType)
}

// A ticket opens one service for one client until its end.
type ticket struct {
	cname  types.PrincipalName
	crealm string
	ticket messages.Ticket
	key    types.EncryptionKey
	name   types.PrincipalName // the service
	realm  string
	end    time.Time
	renew  time.Time // until when it may be renewed; zero: not
}

func (t *ticket) good(now time.Time) bool { return t != nil && now.Add(ticketMargin).Before(t.end) }

// newTicket checks what all answers of KDCs have in common.
func (c *Client) newTicket(cname types.PrincipalName, crealm string, t messages.Ticket, enc *messages.EncKDCRepPart, nonce int, asked []int32) (*ticket, error) {
	now := c.now()
	skew := c.conf.LibDefaults.Clockskew
	start := enc.StartTime
	if start.IsZero() {
		start = enc.AuthTime
	}
	switch {
	case enc.Nonce != nonce:
		return nil, errors.New("the answer is for another request")
	case !slices.Contains(asked, enc.Key.KeyType) || len(enc.Key.KeyValue) == 0:
		return nil, fmt.Errorf("the KDC chose encryption type %d, which was not offered", enc.Key.KeyType)
	case start.Sub(now) > skew:
		return nil, fmt.Errorf("%w: the KDC's is %v ahead", ErrClockSkew, start.Sub(now).Round(time.Second))
	case now.Sub(enc.EndTime) > 0:
		return nil, fmt.Errorf("%w: the ticket had ended %v ago when it came", ErrClockSkew, now.Sub(enc.EndTime).Round(time.Second))
	}
	return &ticket{
		cname: cname, crealm: crealm, ticket: t, key: enc.Key,
		name: enc.SName, realm: enc.SRealm, end: enc.EndTime, renew: enc.RenewTill,
	}, nil
}
