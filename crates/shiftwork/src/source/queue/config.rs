//! A queue source as it is written in a file.

use std::time::Duration;

use shiftwork_queue::Queue;

use super::QueueSource;
use crate::config::{
    form::{OrNone, Time},
    section::section,
};

section! {
    /// How deliveries are claimed, as it is written in a file. What is left out stays as it is.
    pub struct QueueConfig {
        /// How long a claim may go without renewal before somebody else may take the delivery.
        pub lease: Option<Duration> = Time::from_millis(3),
        /// How often an empty queue is asked without having notified.
        pub poll_interval: Option<Duration> = Time::from_millis(1),
        /// For how long a worker that has found nothing does not ask its queue again, whatever the queue says meanwhile.
        pub cooldown: Option<Duration> = Time::from_millis(0),
        /// How often the queue is asked how full it is, where somebody keeps metrics.
        pub measure_every: Option<Option<Duration>> = OrNone(Time::from_millis(1)),
    }
}

impl<T: Send + 'static, Q: Queue<T>> QueueSource<Q, T> {
    pub(super) fn configured(&mut self, config: &QueueConfig) {
        let QueueConfig { lease, poll_interval, cooldown, measure_every } = *config;
        self.change(|options| {
            options.lease = lease.unwrap_or(options.lease).max(super::LEASE_MIN);
            options.cooldown = cooldown.unwrap_or(options.cooldown);
            options.measure = measure_every.unwrap_or(options.measure);
            options.poll = poll_interval.unwrap_or(options.poll).max(super::TIMER);
        });
    }

    pub(super) fn as_config(&self) -> QueueConfig {
        let super::Options { lease, poll, cooldown, outage: _, measure } = self.options;
        QueueConfig {
            lease: Some(lease),
            poll_interval: Some(poll),
            cooldown: Some(cooldown),
            measure_every: Some(measure),
        }
    }
}
