package driver_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/dsn"
)

const plainBounce = `From: Mailer <robot@mx.example.com>
Return-Path: <robot@mx.example.com>
To: desk@example.com
Subject: failure notice

I wasn't able to deliver your message to the following addresses.

<gone@example.net>:
Remote host said: 550 5.1.1 no such user

--- Below this line is a copy of the message.

Received: from desk by mx; Fri, 2 Jan 2026 03:04:05 +0000
Message-ID: <m1@example.com>

Hello
`

// A bounce that follows no standard is told on the event, and is no mail to
// answer; the documented fields keep to reports in the standard form.
func TestReportOfAPlainBounce(t *testing.T) {
	ev, f := one(t, plainBounce)
	require.NotNil(t, ev.Report)
	assert.Equal(t, dsn.KindBounce, ev.Report.Kind)
	require.Len(t, ev.Report.Outcomes, 1)
	o := ev.Report.Outcomes[0]
	assert.Equal(t, "gone@example.net", o.Recipient)
	assert.Equal(t, dsn.Status{Class: 5, Subject: 1, Detail: 1}, o.Status)
	assert.True(t, o.Hard)
	assert.True(t, ev.Report.Matches("m1@example.com", ""))
	assert.Equal(t, driver.ErrNotification, ev.MayAutoReply())
	assert.Equal(t, "False", f["IsDeliveryStatusNotification"])
	assert.Nil(t, ev.DSN)
}

func TestReportInTheStandardForm(t *testing.T) {
	for how, opts := range map[string][]driver.Option{"files": nil, "no files": {driver.WithReturnAttachments(false)}} {
		ev, _ := one(t, bounce, opts...)
		require.NotNil(t, ev.Report, how)
		assert.Equal(t, dsn.ConfidenceCertain, ev.Report.Confidence, how)
		assert.Equal(t, "Gone@example.com", ev.Report.Primary().Recipient, how)
		assert.Equal(t, "job+7", ev.Report.Original.EnvelopeID, how)
	}
}

// Mail from people has no report; what wrote the rest is told by the hints.
func TestReportHints(t *testing.T) {
	for header, want := range map[string]struct {
		kind  dsn.Kind
		reply error
	}{
		"From: a@example.com": {dsn.KindNone, nil},
		"From: a@example.com\nAuto-Submitted: no\nX-Autoreply: yes":               {dsn.KindNone, nil},
		"From: a@example.com\nX-Autoreply: yes":                                   {dsn.KindAutoReply, driver.ErrAutoSubmitted},
		"From: a@example.com\nSubject: Automatic reply: away":                     {dsn.KindAutoReply, driver.ErrAutoSubmitted},
		"From: a@example.com\nList-Unsubscribe: <mailto:leave@example.com>":       {dsn.KindList, driver.ErrMailingList},
		"From: a@example.com\nAuto-Submitted: auto-generated\nSubject: cron done": {dsn.KindAutomatic, driver.ErrAutoSubmitted},
	} {
		ev, _ := one(t, header+"\n\nx\n")
		assert.Equal(t, want.kind, ev.Report.Kind, header)
		assert.Equal(t, want.reply, ev.MayAutoReply(), header)
	}
}
