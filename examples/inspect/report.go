package main

import "github.com/maildriver/maildriver/dsn"

type named struct {
	Type string `json:"type"`
	Name string `json:"name"`
}

type address struct {
	Type string `json:"type"`
	Addr string `json:"addr"`
}

type diagnostic struct {
	Type string `json:"type"`
	Text string `json:"text"`
}

type statusFacts struct {
	ReportingMTA       *named           `json:"reporting_mta,omitempty"`
	ReceivedFromMTA    *named           `json:"received_from_mta,omitempty"`
	DSNGateway         *named           `json:"dsn_gateway,omitempty"`
	OriginalEnvelopeID string           `json:"original_envelope_id,omitempty"`
	ArrivalDate        string           `json:"arrival_date,omitempty"`
	Recipients         []recipientFacts `json:"recipients"`
}

type recipientFacts struct {
	OriginalRecipient *address    `json:"original_recipient,omitempty"`
	FinalRecipient    *address    `json:"final_recipient,omitempty"`
	Action            string      `json:"action,omitempty"`
	Status            *string     `json:"status"`
	StatusRaw         string      `json:"status_raw,omitempty"`
	RemoteMTA         *named      `json:"remote_mta,omitempty"`
	Diagnostic        *diagnostic `json:"diagnostic,omitempty"`
	LastAttemptDate   string      `json:"last_attempt_date,omitempty"`
	FinalLogID        string      `json:"final_log_id,omitempty"`
	WillRetryUntil    string      `json:"will_retry_until,omitempty"`
}

type bounce struct {
	Recipient string `json:"recipient"`
	Status    string `json:"status"`
	Hard      bool   `json:"hard"`
	Reason    string `json:"reason"`
}

// status fills in what a delivery report says.
func (f *facts) status(r *dsn.Report) {
	f.DSN = &statusFacts{
		ReportingMTA: name(r.ReportingMTA), ReceivedFromMTA: name(r.ReceivedFromMTA), DSNGateway: name(r.DSNGateway),
		OriginalEnvelopeID: r.OriginalEnvelopeID, ArrivalDate: r.ArrivalDate, Recipients: []recipientFacts{},
	}
	for _, rc := range r.Recipients {
		rf := recipientFacts{
			OriginalRecipient: addr(rc.OriginalRecipient), FinalRecipient: addr(rc.FinalRecipient),
			Action: rc.Action, StatusRaw: rc.StatusRaw, RemoteMTA: name(rc.RemoteMTA),
			LastAttemptDate: rc.LastAttemptDate, FinalLogID: rc.FinalLogID, WillRetryUntil: rc.WillRetryUntil,
		}
		if rc.Status != "" {
			rf.Status = &rc.Status
		}
		if rc.Diagnostic.Text != "" {
			rf.Diagnostic = &diagnostic{rc.Diagnostic.Type, rc.Diagnostic.Text}
		}
		f.DSN.Recipients = append(f.DSN.Recipients, rf)
	}
}

// outcomes lists what became of another message by this one: deliveries that
// failed, were late or succeeded, and complaints.
func (f *facts) outcomes(r *dsn.Result) {
	for _, o := range r.Outcomes {
		b := bounce{o.Recipient, o.Status.String(), o.Hard, string(o.Reason)}
		if o.StatusDerived {
			b.Status = ""
		}
		if o.Action == dsn.ActionDelivered {
			b.Reason = o.Action
		}
		f.Bounces = append(f.Bounces, b)
	}
}

func name(t dsn.TypedName) *named {
	if t == (dsn.TypedName{}) {
		return nil
	}
	return &named{t.Type, t.Value}
}

func addr(t dsn.TypedName) *address {
	if t == (dsn.TypedName{}) {
		return nil
	}
	return &address{t.Type, t.Value}
}
