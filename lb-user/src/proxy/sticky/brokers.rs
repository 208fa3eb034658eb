//! The names of brokers, so that an entry needs a number only.

/// Names by number. A number is given again once no entry has it.
#[derive(Debug, Default)]
pub(super) struct Brokers(Vec<Broker>);

#[derive(Debug)]
struct Broker {
    name: Box<str>,
    entries: u32,
}

impl Brokers {
    /// The number of `name`, with one entry more; `None` if all numbers are taken.
    pub(super) fn enter(&mut self, name: &str) -> Option<u16> {
        let known = self.0.iter().position(|one| one.entries > 0 && &*one.name == name);
        let place = known.or_else(|| {
            let new = Broker { name: name.into(), entries: 0 };
            if let Some(free) = self.0.iter().position(|one| one.entries == 0) {
                self.0[free] = new;
                return Some(free);
            }
            self.0.push(new);
            Some(self.0.len() - 1)
        })?;
        let number = u16::try_from(place).ok()?;
        self.0[place].entries += 1;
        Some(number)
    }

    /// Takes one entry from `number`.
    pub(super) fn leave(&mut self, number: u16) {
        if let Some(one) = self.0.get_mut(usize::from(number)) {
            one.entries = one.entries.saturating_sub(1);
        }
    }

    /// Moves one entry from `number` to `name`; the number of that.
    pub(super) fn exchange(&mut self, number: u16, name: &str) -> u16 {
        if self.name(number) == name {
            return number;
        }
        self.leave(number);
        self.enter(name).unwrap_or(number)
    }

    pub(super) fn name(&self, number: u16) -> &str {
        self.0.get(usize::from(number)).map_or("", |one| &one.name)
    }

    pub(super) fn counts(&self) -> impl Iterator<Item = (&str, u32)> {
        self.0.iter().filter(|one| one.entries > 0).map(|one| (&*one.name, one.entries))
    }
}
