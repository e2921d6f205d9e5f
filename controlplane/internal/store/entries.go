package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
)

// entriesSubject is what the subjects of logs begin with. Each log has one.
const entriesSubject = "sallyport.entries."

// entriesStream is where the logs' entries are kept a second time, in the order in which
// they were taken: what a damaged file of a log is rebuilt from.
func entriesStream() jetstream.StreamConfig {
	return keptForGood("sallyport-entries", "batches of entries of logs, as they are in the logs", entriesSubject+"*")
}

// subjectOf is the subject of a log.
func subjectOf(log string) string { return entriesSubject + encodeKey(log) }

// AppendEntries appends entries of a log, whose name may be any text that is not empty, in
// order, and returns when they are durable. On an error some of the first may be.
func (s *Store) AppendEntries(ctx context.Context, log string, entries [][]byte) error {
	if err := s.append(ctx, subjectOf(log), nil, entries); err != nil {
		return fmt.Errorf("append entries of %s: %w", log, err)
	}
	return nil
}

// LastEntries are the entries of a log that were appended last; none if none were, or if
// they cannot be read.
func (s *Store) LastEntries(ctx context.Context, log string) ([][]byte, error) {
	_, data, err := s.lastEntries(ctx, log)
	if err != nil || data == nil {
		return nil, err
	}
	batch := new(controlv1.Batch)
	if err := proto.Unmarshal(data, batch); err != nil {
		s.log.Error("stored entries cannot be read", zap.String("log", log), zap.Error(err))
		return nil, nil
	}
	return batch.GetFrames(), nil
}

// lastEntries is a log's last message; nil if it has none.
func (s *Store) lastEntries(ctx context.Context, log string) (sequence uint64, data []byte, err error) {
	message, err := s.entries.GetLastMsgForSubject(ctx, subjectOf(log))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return 0, nil, nil
	}
	if err != nil {
		return 0, nil, unavailable("last entries of "+log, err)
	}
	return message.Sequence, message.Data, nil
}

// ReplayEntries calls each with all batches of entries of a log that were appended before
// the call, oldest first, until each fails or all were seen. A batch that cannot be read is
// logged and passed over.
func (s *Store) ReplayEntries(ctx context.Context, log string, each func(entries [][]byte) error) error {
	last, data, err := s.lastEntries(ctx, log)
	if err != nil || data == nil {
		return err
	}
	from := jetstream.OrderedConsumerConfig{FilterSubjects: []string{subjectOf(log)}}
	err = s.replay(ctx, s.entries, from, last, func(_ jetstream.Msg, _ time.Time, entries [][]byte) error { return each(entries) })
	if err != nil {
		return fmt.Errorf("replay entries of %s: %w", log, err)
	}
	return nil
}
