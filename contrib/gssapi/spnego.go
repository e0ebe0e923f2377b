package gssapi

import (
	"crypto/hmac"
	"encoding/asn1"
	"errors"
)

// negTokenInit and negTokenResp are those of RFC 4178 section 4.2.
type negTokenInit struct {
	MechTypes []asn1.ObjectIdentifier `asn1:"explicit,tag:0"`
	MechToken []byte                  `asn1:"explicit,optional,omitempty,tag:2"`
}

type negTokenResp struct {
	State    asn1.Enumerated       `asn1:"explicit,optional,tag:0,default:-1"`
	Mech     asn1.ObjectIdentifier `asn1:"explicit,optional,tag:1"`
	Token    []byte                `asn1:"explicit,optional,omitempty,tag:2"`
	MechsMIC []byte                `asn1:"explicit,optional,omitempty,tag:3"`
}

// States of a negTokenResp.
const (
	negAbsent     = -1
	negCompleted  = 0
	negIncomplete = 1
	negReject     = 2
	negRequestMIC = 3
)

var errRefused = errors.New("the server refused the login")

// firstSPNEGO offers Kerberos alone, so that nobody can talk us down to
// something weaker.
func (s *secContext) firstSPNEGO(token []byte) ([]byte, error) {
	mechs := []asn1.ObjectIdentifier{oidKerberos}
	list, err := asn1.Marshal(mechs)
	if err != nil {
		return nil, err
	}
	s.request = list
	b, err := choice(0, negTokenInit{MechTypes: mechs, MechToken: token})
	if err != nil {
		return nil, err
	}
	return frame(oidSPNEGO, b)
}

// choice encodes a NegotiationToken (RFC 4178 section 4.2).
func choice(tag int, v any) ([]byte, error) {
	b, err := asn1.Marshal(v)
	if err != nil {
		return nil, err
	}
	return asn1.Marshal(asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tag, IsCompound: true, Bytes: b})
}

func (s *secContext) answerSPNEGO(in []byte) ([]byte, error) {
	var outer asn1.RawValue
	rest, err := asn1.Unmarshal(in, &outer)
	if err != nil || len(rest) > 0 || outer.Class != asn1.ClassContextSpecific || outer.Tag != 1 {
		return nil, errToken
	}
	var r negTokenResp
	if rest, err = asn1.Unmarshal(outer.Bytes, &r); err != nil || len(rest) > 0 {
		return nil, errToken
	}
	switch {
	case r.State == negReject:
		if r.Token != nil && s.state == stateSent {
			if err := s.answer(r.Token); err != nil {
				return nil, err // a KRB-ERROR says more
			}
		}
		return nil, errRefused
	case r.Mech != nil && !r.Mech.Equal(oidKerberos) && !r.Mech.Equal(oidMSKerberos):
		return nil, errors.New("it chose a mechanism that was not offered")
	}
	if s.state == stateSent {
		if r.Token == nil {
			return nil, errors.New("it gave no proof")
		}
		if err := s.answer(r.Token); err != nil {
			return nil, err
		}
	}
	return s.checkMIC(&r)
}

// checkMIC agrees on the list of mechanisms (RFC 4178 section 5). With one
// mechanism in the list the server need not ask for it.
func (s *secContext) checkMIC(r *negTokenResp) ([]byte, error) {
	sent := s.state == stateMIC // ours
	if r.MechsMIC != nil {
		want, err := micToken(s.key, usageTheirsMIC, s.flag|fromAcceptor, s.got, s.request)
		if err != nil {
			return nil, err
		}
		if !hmac.Equal(want, r.MechsMIC) {
			return nil, errors.New("its list of mechanisms fails its check")
		}
		s.got++
	}
	if r.State == negCompleted || r.State == negAbsent && r.MechsMIC != nil {
		s.state = stateDone
		return nil, nil
	}
	if sent {
		return nil, errors.New("it does not come to an end")
	}
	mic, err := micToken(s.key, usageOurMIC, s.flag, s.sent, s.request)
	if err != nil {
		return nil, err
	}
	s.sent++
	s.state = stateMIC
	return choice(1, negTokenResp{State: negIncomplete, MechsMIC: mic})
}
