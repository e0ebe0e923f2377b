package dsn

import (
	"strings"
	"sync"
)

// undeliveredWords say that a message did not arrive, in the languages of the
// common mail systems.
var undeliveredWords = []string{
	"undeliver", "could not be delivered", "couldn't be delivered", "can not be delivered", "cannot be delivered", "can't be delivered", "wasn't delivered", "was not delivered", "were not delivered", "not been delivered", "not be delivered", "not delivered",
	"not able to be delivered", "unable to deliver", "wasn't able to deliver", "was unable to deliver", "not able to deliver", "could not deliver", "couldn't deliver", "cannot deliver", "failed to deliver", "delivery failed", "delivery has failed", "delivery failure",
	"delivery to the following", "delevery to the following", "did not reach", "could not be reached", "failed permanently", "permanent error", "permanent fatal error", "permanent failure", "delivery problems", "error delivering", "problem delivering", "trouble delivering", "error sending your", "attempting to deliver", "trying to deliver", "delivery error",
	"could not be sent", "couldn't be sent", "was not sent", "returned mail", "mail returned", "message returned", "returned to sender", "returning message", "mail delivery subsystem", "mail delivery system", "failure notice", "mail failure", "was undeliverable", "rejected by a remote", "rejected by the recipient", "rejected by the server",
	"transcript of session", "did not receive this message", "message was rejected", "was not accepted", "was rejected", "has been rejected", "message has been blocked", "error message below", "is delayed", "has been delayed", "delayed for", "following address failed", "following addresses failed", "address(es) failed", "cannot send message", "delivery of the email was stopped",
	"unknown user", "user unknown", "bounced", "unzustellbar", "nicht zugestellt", "nicht ausgeliefert", "zustellung fehlgeschlagen", "fehler bei der zustellung", "non remis", "n'a pas pu être remis", "n'a pas pu etre", "n'a pas été remis", "n'a pu être", "impossible de remettre", "échec de la remise", "non recapitabile", "non è riuscito", "non è stato possibile recapitare", "mancato recapito",
	"no se pudo entregar", "no se ha podido entregar", "no se puede entregar", "no se entregó", "no entregado", "não foi entregue", "não pôde ser entregue", "não foi possível entregar", "não entregue", "kan niet worden bezorgd", "niet bezorgd", "onbestelbaar", "kunde inte levereras", "kunne ikke leveres", "nie można dostarczyć", "nie został dostarczony", "niedostarczon", "teslim edilemedi",
	"не доставлено", "не может быть доставлено", "не может быть отправлено", "недоставленное", "не удалось доставить", "не було доставлено", "配信できません", "配信不能", "送信できません", "送信できなかった", "届きません", "お届けできません", "配達できません", "配信エラー", "エラーのため", "无法投递", "无法送达", "退信", "未能送达", "無法傳送", "無法投遞", "전송되지", "배달되지", "تعذر",
}

// undeliveredSubjects start the subject of a report; undeliveredWords do, too.
var undeliveredSubjects = []string{
	"delivery status", "delivery notification", "delivery report", "delivery problem", "mail delivery", "mail system error", "mail error", "email delivery", "e-mail delivery", "message delivery", "message status", "mail status", "failure delivery", "delivery fail", "failed delivery", "failed mail", "failed:", "message could not", "mail could not", "your message to", "your e-mail to", "your mail to",
	"warning: could not send", "warning: message", "delayed mail", "postmaster notify", "[postmaster]", "nondeliverable", "non-delivery", "nondelivery", "ndn:", "ndr:", "nicht zustellbar", "notice: mail delivery", "error sending", "error mail", "user unknown", "permanent delivery", "abwesend: unzustellbar", "considered unsolicited", "bounce", "rejected mail", "rejected:", "mail rejected", "rejet", "エラーメール", "メールを配信", "通知",
}

var undeliveredIndex = sync.OnceValue(func() *wordIndex {
	x := newWordIndex()
	for _, w := range undeliveredWords {
		x.add(w, 0)
	}
	return x.done()
})

func saysUndelivered(s string) bool {
	index := undeliveredIndex()
	s = oneBlank(strings.ToLower(s))
	for i := 0; i+3 <= len(s); i++ {
		for _, p := range index.at(s, i) {
			if strings.HasPrefix(s[i:], p.text) {
				return true
			}
		}
	}
	return false
}

// oneBlank makes runs of blanks and line ends one blank, and curly quotes
// straight.
func oneBlank(s string) string {
	if strings.Contains(s, "’") {
		s = strings.ReplaceAll(s, "’", "'")
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '\t' || c == '\n' || c == '\r' {
			c = ' '
		}
		if c != ' ' || len(b) > 0 && b[len(b)-1] != ' ' {
			b = append(b, c)
		}
	}
	return string(b)
}

func undeliveredSubject(s string) bool {
	if saysUndelivered(s) {
		return true
	}
	s = strings.TrimSpace(strings.ToLower(s))
	for _, w := range undeliveredSubjects {
		if strings.HasPrefix(s, w) {
			return true
		}
	}
	return false
}
