package gssapi

import (
	"encoding/asn1"
	"testing"

	"github.com/jcmturner/gokrb5/v8/crypto"
	"github.com/jcmturner/gokrb5/v8/gssapi"
	"github.com/jcmturner/gokrb5/v8/iana/errorcode"
	"github.com/jcmturner/gokrb5/v8/iana/keyusage"
	"github.com/jcmturner/gokrb5/v8/spnego"
	"github.com/jcmturner/gokrb5/v8/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
)

func generateKey() (types.EncryptionKey, error) {
	et, err := crypto.GetEtype(aes256)
	if err != nil {
		return types.EncryptionKey{}, err
	}
	return types.GenerateEncryptionKey(et)
}

// spnegoServer reads the first token with gokrb5's parser, and prepares the
// answer's parts.
func spnegoServer(t *testing.T, k *fakeKDC, token []byte) (a *acceptor, answer []byte) {
	t.Helper()
	var st spnego.SPNEGOToken
	require.NoError(t, st.Unmarshal(token))
	require.True(t, st.Init)
	require.Len(t, st.NegTokenInit.MechTypes, 1)
	assert.True(t, st.NegTokenInit.MechTypes[0].Equal(gssapi.OIDKRB5.OID()), "nothing else is offered")
	a = &acceptor{keys: k.keys, bind: noBinding, subkey: true}
	answer, err := a.accept(st.NegTokenInit.MechTokenBytes)
	require.NoError(t, err)
	return a, answer
}

// mic signs the list of mechanisms as the server, with gokrb5.
func (a *acceptor) mic(t *testing.T) []byte {
	t.Helper()
	list, err := asn1.Marshal([]asn1.ObjectIdentifier{oidKerberos})
	require.NoError(t, err)
	m := gssapi.MICToken{Flags: a.flags, SndSeqNum: uint64(a.seq), Payload: list}
	require.NoError(t, m.SetChecksum(a.key, keyusage.GSSAPI_ACCEPTOR_SIGN))
	b, err := m.Marshal()
	require.NoError(t, err)
	return b
}

func TestSPNEGO(t *testing.T) {
	for name, tt := range map[string]struct {
		first  func(a *acceptor, apRep []byte) negTokenResp
		second func(a *acceptor) negTokenResp // if we must answer
		kind   driver.Kind                    // of the error
		is     error
	}{
		"completed": {first: func(_ *acceptor, r []byte) negTokenResp {
			return negTokenResp{State: negCompleted, Mech: oidKerberos, Token: r}
		}},
		"completed, name of old Windows": {first: func(_ *acceptor, r []byte) negTokenResp {
			return negTokenResp{State: negCompleted, Mech: oidMSKerberos, Token: r}
		}},
		"completed, signed": {first: func(a *acceptor, r []byte) negTokenResp {
			return negTokenResp{State: negCompleted, Mech: oidKerberos, Token: r, MechsMIC: a.mic(t)}
		}},
		"wants the signature": {
			first: func(_ *acceptor, r []byte) negTokenResp {
				return negTokenResp{State: negRequestMIC, Mech: oidKerberos, Token: r}
			},
			second: func(a *acceptor) negTokenResp { return negTokenResp{State: negCompleted, MechsMIC: a.mic(t)} },
		},
		"never ends": {
			first: func(_ *acceptor, r []byte) negTokenResp {
				return negTokenResp{State: negIncomplete, Mech: oidKerberos, Token: r}
			},
			second: func(*acceptor) negTokenResp { return negTokenResp{State: negIncomplete} },
			kind:   driver.KindAuth, is: ErrServer,
		},
		"wrong signature": {first: func(a *acceptor, r []byte) negTokenResp {
			b := a.mic(t)
			b[len(b)-1] ^= 1
			return negTokenResp{State: negCompleted, Token: r, MechsMIC: b}
		}, kind: driver.KindAuth, is: ErrServer},
		"refused": {first: func(*acceptor, []byte) negTokenResp {
			return negTokenResp{State: negReject}
		}, kind: driver.KindAuth, is: errRefused},
		"refused with a reason": {first: func(*acceptor, []byte) negTokenResp {
			return negTokenResp{State: negReject, Token: krbError(errorcode.KRB_AP_ERR_SKEW)}
		}, kind: driver.KindLocal, is: ErrClockSkew},
		"completed without proof": {first: func(*acceptor, []byte) negTokenResp {
			return negTokenResp{State: negCompleted, Mech: oidKerberos}
		}, kind: driver.KindAuth, is: ErrServer},
		"another mechanism": {first: func(_ *acceptor, r []byte) negTokenResp {
			return negTokenResp{State: negCompleted, Mech: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 2, 2, 10}, Token: r}
		}, kind: driver.KindAuth, is: ErrServer},
	} {
		t.Run(name, func(t *testing.T) {
			k := newKDC(t)
			sc, token := begin(t, k.client(right()), "HTTP", nil)
			a, apRep := spnegoServer(t, k, token)
			in, err := choice(1, tt.first(a, apRep))
			require.NoError(t, err)
			out, done, err := sc.Step(in)
			if tt.second != nil {
				require.NoError(t, err)
				require.False(t, done)
				var resp spnego.NegTokenResp
				require.NoError(t, resp.Unmarshal(out))
				var m gssapi.MICToken
				require.NoError(t, m.Unmarshal(resp.MechListMIC, false))
				m.Payload, err = asn1.Marshal([]asn1.ObjectIdentifier{oidKerberos})
				require.NoError(t, err)
				ok, err := m.Verify(a.key, keyusage.GSSAPI_INITIATOR_SIGN)
				require.NoError(t, err)
				assert.True(t, ok)
				in, err = choice(1, tt.second(a))
				require.NoError(t, err)
				out, done, err = sc.Step(in)
				if tt.is == nil {
					require.NoError(t, err)
				} else {
					require.ErrorIs(t, err, tt.is)
				}
			}
			if tt.is == nil {
				require.NoError(t, err)
				assert.True(t, done)
				assert.Empty(t, out)
				return
			}
			assert.False(t, done)
			if err != nil {
				require.ErrorIs(t, err, tt.is)
				assert.Equal(t, tt.kind, driver.KindOf(err), "%v", err)
			}
		})
	}
}
