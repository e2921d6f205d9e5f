package store

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
)

const (
	// framesSubject is where batches of frames are published.
	framesSubject = "sallyport.frames"
	// gatewayHeader names the gateway that delivered a batch.
	gatewayHeader = "Sallyport-Gateway"
	// batchBytes bounds one message's frames. It is under the default max_payload
	// (1 MiB) of an external server, with one largest frame to spare.
	batchBytes = 512 << 10
	// replayBytes bounds how far a replay reads ahead.
	replayBytes = 8 << 20
)

// keptForGood is a stream of batches in the order they came. Nothing in it is ever deleted or
// pushed out: when it is full, a write fails, and who writes keeps what he has.
func keptForGood(name, description, subject string) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:        name,
		Description: description,
		Subjects:    []string{subject},
		Retention:   jetstream.LimitsPolicy,
		Discard:     jetstream.DiscardNew,
		Storage:     jetstream.FileStorage,
		DenyDelete:  true,
		DenyPurge:   true,
	}
}

// framesStream is where frames are kept.
func framesStream() jetstream.StreamConfig {
	return keptForGood("sallyport-frames", "batches of frames as gateways delivered them", framesSubject)
}

// AppendFrames appends frames that a gateway delivered, in order, and returns
// when they are durable. On an error some of the first may be durable: the
// gateway delivers all of them again, and joining does not mind.
func (s *Store) AppendFrames(ctx context.Context, gateway string, frames [][]byte) error {
	header := nats.Header{gatewayHeader: {gateway}}
	if err := s.append(ctx, framesSubject, header, frames); err != nil {
		return fmt.Errorf("append frames: %w", err)
	}
	return nil
}

// append publishes items to a stream's subject, in order, in as many messages as they take.
func (s *Store) append(ctx context.Context, subject string, header nats.Header, items [][]byte) error {
	for len(items) > 0 {
		n := fit(items)
		data, err := proto.Marshal(&controlv1.Batch{Frames: items[:n]})
		if err != nil {
			return err
		}
		if _, err := s.js.PublishMsg(ctx, &nats.Msg{Subject: subject, Header: header, Data: data}); err != nil {
			return unavailable("publish", err)
		}
		items = items[n:]
	}
	return nil
}

// fit is how many of the items make one message; at least one.
func fit(items [][]byte) int {
	size := 0
	for i, item := range items {
		size += len(item)
		if size > batchBytes && i > 0 {
			return i
		}
	}
	return len(items)
}

// Replay calls each with every batch that was appended at that time or later, and before
// the call, and when that was, oldest first, until each fails or all were seen. A batch
// that cannot be read is logged and passed over: one bad message must not take all records
// with it.
func (s *Store) Replay(ctx context.Context, since time.Time, each func(gateway string, at time.Time, frames [][]byte) error) error {
	info, err := s.frames.Info(ctx)
	if err != nil {
		return unavailable("replay frames", err)
	}
	if info.State.Msgs == 0 || info.State.LastTime.Before(since) {
		return nil
	}
	from := jetstream.OrderedConsumerConfig{}
	if since.After(info.State.FirstTime) {
		from.DeliverPolicy, from.OptStartTime = jetstream.DeliverByStartTimePolicy, &since
	}
	err = s.replay(ctx, s.frames, from, info.State.LastSeq, func(m jetstream.Msg, at time.Time, frames [][]byte) error {
		return each(m.Headers().Get(gatewayHeader), at, frames)
	})
	if err != nil {
		return fmt.Errorf("replay frames: %w", err)
	}
	return nil
}

// replay calls each with a stream's batches, up to the message with the number last, which
// has to be there.
func (s *Store) replay(ctx context.Context, stream jetstream.Stream, from jetstream.OrderedConsumerConfig, last uint64, each func(jetstream.Msg, time.Time, [][]byte) error) error {
	consumer, err := stream.OrderedConsumer(ctx, from)
	if err != nil {
		return unavailable("consume", err)
	}
	messages, err := consumer.Messages(jetstream.PullMaxBytes(replayBytes))
	if err != nil {
		return unavailable("consume", err)
	}
	defer messages.Stop()
	for {
		message, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return unavailable("next message", err)
		}
		meta, err := message.Metadata()
		if err != nil {
			return err
		}
		var batch controlv1.Batch
		if err := proto.Unmarshal(message.Data(), &batch); err != nil {
			s.log.Error("stored batch cannot be read", zap.String("stream", meta.Stream), zap.Uint64("sequence", meta.Sequence.Stream), zap.Error(err))
		} else if err := each(message, meta.Timestamp, batch.GetFrames()); err != nil {
			return err
		}
		if meta.Sequence.Stream >= last {
			return nil
		}
	}
}
